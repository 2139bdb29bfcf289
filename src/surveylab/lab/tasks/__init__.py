"""Tasks and measurements that single chapters use: recurrent networks, style, influence, landscapes."""
