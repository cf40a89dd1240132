"""From MJCF and URDF to a `Model`, through MuJoCo's own compiler."""
