"""From data of one's own to a judged comparison: does Batch Norm help here, and by how much?"""

from functools import partial

import torch
from torch import nn

from surveylab import lab

x = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))  # your examples, (N, …)
y = (x.sin().sum(1) > 0).long()  # and their labels, (N,)


def network(norm) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), norm(32), nn.ReLU(), nn.Linear(32, 2))


run = lab.begin(profile="standard")  # three populations of eight replicates
rates = [2.0**k for k in range(-8, 3)]
task = lab.Comparison(lab.Dataset.of(x, y).to(run.device), run.streams(), 8192, rates)
arms = {"BN": lab.Arm(partial(network, nn.BatchNorm1d)), "none": lab.Arm(partial(network, nn.Identity))}
trained = {name: task.run(name, arm) for name, arm in arms.items()}  # each at its own best rates
lab.compare({name: arm.score for name, arm in trained.items()}, "none")
lab.check("BN minus none, points", trained["BN"].score - trained["none"].score)
