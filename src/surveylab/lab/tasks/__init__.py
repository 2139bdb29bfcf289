"""Tasks and measurements that single chapters use: recurrent, separable, style; influence, landscapes."""
