"""Interior-point solver of nonlinear complementarity problems. Knows no physics."""
