"""What a robot is: static topology, differentiable parameters, state, errors."""
