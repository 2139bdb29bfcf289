"""The command `surveylab`. Exit codes: 0 fine, 1 something does not hold, 2 wrong use, 130 interrupted.

What a command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from surveylab.claims.values import PROFILES
from surveylab.press.project import PressError, Project, WrongUse

DEVICES = ("auto", "cpu", "cuda")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 something does not hold, 2 wrong use, 130 interrupted.",
)
@click.version_option(package_name="surveylab", prog_name="surveylab")
def cli() -> None:
    """Execute the chapters of the survey, verify what is published, build the book.

    A chapter is named as section/chapter (normalization/batch_norm), by its last part (batch_norm), or by
    the path of its source. Without a name a command takes all chapters.

    \b
    surveylab status                            what is fresh, what is not, and why
    surveylab run                               execute what is not fresh, publish it under book/
    surveylab run batch_norm --profile smoke    only see that a chapter runs, in seconds
    surveylab verify                            recompute, re-execute, compare claim by claim
    surveylab replicate --seed 7                would other random numbers tell the same story?
    surveylab new adaptive/activations          begin a chapter
    surveylab build                             the HTML book
    """


def _chapters(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("chapters", nargs=-1, metavar="[CHAPTER]...")(command)


def _execution(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that executes chapters."""
    device = click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="Where to compute. auto takes a GPU where there is one.",
    )
    timeout = click.option(
        "--timeout",
        type=click.IntRange(min=1),
        default=1800,
        show_default=True,
        metavar="SECONDS",
        help="The longest that one cell may take.",
    )
    return device(timeout(command))


def _executor(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that executes several chapters."""
    workers = click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Chapters at a time on this machine, each on one thread.  [default: one a core]",
    )
    scheduler = click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Let the workers of this Dask scheduler (tcp://host:port) do it. They need no copy of the "
        "project. With --device cuda: those that offer the resource GPU.",
    )
    return workers(scheduler(command))


@cli.command()
@_chapters
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="standard",
    show_default=True,
    help="smoke: seconds, decides nothing, into _build/. standard: what book/ publishes. "
    "full: for a GPU, published beside it under book/full/.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Any other than the chapter's own goes into _build/; those from 1000 on are for design. Default: "
    "the seed that follows from the chapter's name and edition, on which it is published.",
)
@click.option(
    "--candidate",
    metavar="MODULE:CLASS",
    help="Your own method, run through the chapter's comparison beside the review's; imported from the "
    "folder you are in. Arguments of its own: 'module:Class?groups=4&eps=1e-3'. What it reaches is shown at "
    "the end; the chapter goes into _build/.",
)
@click.option("--force", is_flag=True, help="Execute fresh chapters too.")
@click.option(
    "--cache/--no-cache",
    default=True,
    show_default=True,
    help="Take arms that nothing could have changed from _build/cache/; never in CI.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Write into this folder instead."
)
@_executor
@_execution
def run(chapters: Sequence[str], workers: int | None, scheduler: str | None, **options: Any) -> int:
    """Execute the chapters that are not fresh.

    Fresh means: source cells, the library code they use, their claims, tuned rates and parameters are
    what they were. Where only wording changed, it is carried over without executing. Each chapter is
    replaced as a whole when it is finished: an interrupted run goes on where it stopped, and a chapter that
    fails leaves the published one as it was.

    \b
    surveylab run
    surveylab run normalization/batch_norm --force
    surveylab run --workers 1
    surveylab run batch_norm --profile full --device cuda
    surveylab run --profile full --device cuda --scheduler tcp://head:8786
    surveylab run batch_norm --profile smoke --candidate examples.my_norm:MyNorm
    surveylab run batch_norm --candidate 'my_norm:MyNorm?eps=1e-3'
    """
    from surveylab.press.run import publish
    from surveylab.press.run.executor import Executor

    candidate = options["candidate"]
    if candidate is not None and not _names_a_class(candidate):
        raise WrongUse(
            f"--candidate {candidate}: write it as package.module:Class or module:Class?name=value"
        )
    asked = publish.Run(executor=Executor(workers, scheduler), **options)
    project = Project.find()
    return publish.run(project, project.select(chapters), asked, click.echo)


def _names_a_class(candidate: str) -> bool:
    module, colon, name = candidate.partition("?")[0].partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


@cli.command()
@click.argument("chapter")
def new(chapter: str) -> int:
    """Write the skeleton of a chapter that the review has and the book has not.

    That is a source which runs at once, a claims file with the statements to cover, a test and, for the
    first chapter of a section, the section's package. Nothing has to be registered anywhere: the table of
    contents and the API reference follow. What is there already is never overwritten.

    \b
    surveylab new adaptive/activations
    """
    from surveylab.press.new import new as write_skeleton

    write_skeleton(Project.find(), chapter, click.echo)
    return 0


@cli.command()
@_chapters
def status(chapters: Sequence[str]) -> int:
    """Show which chapters are fresh, and what made the others stale.

    Exits with 1 if any published chapter is not fresh. Full editions are dated and never stale.
    """
    from surveylab.press.run.freshness import status as describe

    project = Project.find()
    text, fresh = describe(project, project.select(chapters))
    click.echo(text)
    return 0 if fresh else 1


@cli.command()
@_chapters
@click.option("--recompute-only", is_flag=True, help="Check without executing anything (seconds).")
@click.option(
    "--retune",
    is_flag=True,
    help="Repeat the sweeps from which the learning rates were chosen, instead of the published runs.",
)
@click.option(
    "--in-turn",
    is_flag=True,
    help="Of the chapters only the one whose turn it is this week: each comes once in as many weeks as there "
    "are.",
)
@click.option(
    "--report",
    "reports",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    multiple=True,
    help="Write the findings there too; may be given several times. The suffix says how: .json, .xml "
    "(JUnit), .html (a page), .md (text for an issue).",
)
@_executor
@_execution
def verify(
    chapters: Sequence[str],
    recompute_only: bool,
    retune: bool,
    in_turn: bool,
    reports: Sequence[Path],
    workers: int | None,
    scheduler: str | None,
    **options: Any,
) -> int:
    """Check that what is published holds. Changes nothing.

    First without executing: each chapter is fresh and shows its source; each verdict, interval and card
    follows from the values published with it; and what a claim asks is what it asked when it was published,
    or its history says so. Then each chapter is executed again and compared replicate by replicate and output
    by output: on the same versions and processor all of it must be equal; elsewhere a paired test with one
    error budget over all claims decides, words must be equal, and numbers and figures near. A verdict that
    changed is listed, and fails if it was firm. What differs is listed with its likely cause.

    \b
    surveylab verify
    surveylab verify --recompute-only
    surveylab verify --retune batch_norm
    surveylab verify batch_norm --report _build/verify.json --report _build/verify.html
    """
    from surveylab.press.run.executor import Executor
    from surveylab.press.verify import report
    from surveylab.press.verify import verify as verification
    from surveylab.press.verify.retune import in_turn as due

    if recompute_only and retune:
        raise WrongUse("--recompute-only executes nothing, --retune does: choose one")
    executor = Executor(workers, scheduler)
    project = Project.find()
    report.check_destinations(reports)
    chosen = project.select(chapters)
    found = verification.verify(
        project,
        due(chosen, datetime.now(UTC).date()) if in_turn else chosen,
        click.echo,
        recompute_only=recompute_only,
        retune=retune,
        executor=executor,
        keep=lambda found: report.write(found, reports),
        **options,
    )
    click.echo(verification.shown(found))
    return 0 if found.holds else 1


@cli.command()
@_chapters
@click.option(
    "--seed", type=click.IntRange(min=0), required=True, help="Below 1000, and not a published one."
)
@click.option(
    "--retune",
    is_flag=True,
    help="Find learning rates anew for this run, on a seed of their own. book/tuning/ stays as it is.",
)
@_executor
@_execution
def replicate(
    chapters: Sequence[str],
    seed: int,
    retune: bool,
    workers: int | None,
    scheduler: str | None,
    **options: Any,
) -> int:
    """Run chapters with other random numbers, compare the verdicts, and record them in book/replications/.

    A run has a file of its own, written anew after each chapter; cards and ledger then say how often each
    verdict was repeated, and the page Replications whether that is as often as was to be expected. A chapter
    that is not fresh is compared but not recorded.

    Exits with 1 if a verdict turns into its opposite, in either direction.

    \b
    surveylab replicate batch_norm --seed 7
    surveylab replicate --seed 7 --retune
    """
    from surveylab.press.run.executor import Executor
    from surveylab.press.run.replicate import replicate as compare

    executor = Executor(workers, scheduler)
    project = Project.find()
    fine = compare(
        project, project.select(chapters), click.echo, seed=seed, retune=retune, executor=executor, **options
    )
    return 0 if fine else 1


@cli.command()
@click.argument("chapter")
@click.option(
    "--seed",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="At least 1000: rates are chosen on other streams than those of published runs.",
)
@click.option(
    "--missing",
    is_flag=True,
    help="Sweep only new arms and those with another grid; keep the others' rates.",
)
@_execution
def tune(chapter: str, seed: int, missing: bool, device: str, timeout: int) -> int:
    """Find a chapter's learning rates and keep them in book/tuning/.

    The whole sweep is kept and shown in the chapter. A best rate at the edge of its grid is an error: the
    grid has to be widened first. Afterwards the chapter is stale: `surveylab run` executes it with the new
    rates.

    \b
    surveylab tune normalization/batch_norm
    """
    from surveylab.press.run.tune import tune as find_rates

    project = Project.find()
    (name,) = project.select([chapter])
    find_rates(project, name, click.echo, seed=seed, device=device, timeout=timeout, missing=missing)
    return 0


@cli.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Build there instead of in _build/.",
)
@click.option("--force", is_flag=True, help="Build even if nothing changed.")
@click.option("--pdf", is_flag=True, help="Make one PDF of the whole book too, which needs a Chromium.")
@click.option(
    "--repository",
    metavar="URL",
    envvar="SURVEYLAB_REPOSITORY",
    show_envvar=True,
    help="Where the sources lie, such as https://github.com/owner/name. It gives the pages buttons to the "
    "repository, to edit, to report an issue and to run a chapter elsewhere.",
)
@click.option(
    "--branch",
    metavar="NAME",
    envvar="SURVEYLAB_BRANCH",
    show_envvar=True,
    help="The branch that these buttons lead to.  [default: main]",
)
@click.option(
    "--site",
    metavar="URL",
    envvar="SURVEYLAB_SITE",
    show_envvar=True,
    help="Where the book will be read, such as https://owner.github.io/name/. It gives the pages their full "
    "address, which search engines and the cards of shared links ask for, and makes a sitemap.",
)
def build(
    output: Path | None,
    force: bool,
    pdf: bool,
    repository: str | None,
    branch: str | None,
    site: str | None,
) -> int:
    """Build the HTML book from the published chapters and their evidence. Executes nothing.

    The ledger, the corrections and the badges are made from the evidence that the chapters carry; a chapter
    whose evidence does not hold together stops the build, and so does any warning. What is not known of the
    addresses below is left out of the pages.

    \b
    surveylab build
    surveylab build --pdf
    surveylab build --repository https://github.com/owner/name --site https://owner.github.io/name/
    """
    from surveylab.press.site.build import build as build_book
    from surveylab.press.site.build import build_pdf
    from surveylab.press.site.urls import Site

    addresses = Site.of(repository, site, branch)
    root = Project.find().root
    click.echo(f"Open {build_book(root, output=output, force=force, site=addresses)}")
    if pdf:
        click.echo(f"Open {build_pdf(root, output=output, force=force, site=addresses)}")
    return 0


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; every foreseen failure is one message, never a traceback."""
    try:
        code = cli.main(args=arguments, prog_name="surveylab", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort:
        click.echo("surveylab: interrupted; what was finished stays, the rest is as it was", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PressError as error:
        click.echo(f"surveylab: {error}", err=True)
        return error.exit_code
    except OSError as error:
        click.echo(f"surveylab: {error.filename or ''}: {error.strerror or error}", err=True)
        return 1


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the command `surveylab`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # In a file or a pipe Windows writes an old code page, which has no minus sign and no arrow.
            stream.reconfigure(errors="replace")
    sys.exit(execute(arguments))
