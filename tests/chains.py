"""A mechanism whose steps have no solution when it is fast."""

# Two light links with a heavy end: the momentum of the end saturates where they are straight.
CHAIN = """<mujoco><option gravity="0 0 0" timestep=".1"/><worldbody><body>
  <joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0 0 -.5" size=".02" mass=".1"/>
  <body pos="0 0 -.5"><joint axis="0 1 0"/>
  <geom type="capsule" fromto="0 0 0 0 0 -.5" size=".02" mass=".1"/>
  <geom type="sphere" pos="0 0 -.5" size=".05" mass="100"/>
  </body></body></worldbody>
  <keyframe><key name="fast" qpos=".2 -.4" qvel="-1.4 2.8"/></keyframe></mujoco>"""
