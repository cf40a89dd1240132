"""Rigid-body mechanics: kinematics, collision, forces, and the residual of one step.

Knows no solver. Arrays are component first (see `dojo.math`): link positions (3, nl), rotations
(3, 3, nl), motion axes (6, nv) with the angular part first, at the world origin.
"""
