"""A small scene with a bit of everything a world must handle; used by several tests."""

from __future__ import annotations

SCENE = """
<mujoco>
  <option timestep="0.004"/>
  <visual><headlight ambient="0.3 0.3 0.3" diffuse="0.3 0.3 0.3" specular="0 0 0"/></visual>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="0.6 0.8 1" rgb2="1 1 1" width="64" height="64"/>
    <texture name="sand" type="2d" builtin="flat" rgb1="0.9 0.8 0.6" width="8" height="8"/>
    <material name="floor" texture="sand" reflectance="0.4" specular="0"/>
    <material name="steel" rgba="0.5 0.6 0.7 1" specular="0"/>
  </asset>
  <worldbody>
    <light pos="0.5 0.5 3" dir="0 0 -1" diffuse="0.4 0.4 0.4" specular="0 0 0"/>
    <camera name="front" pos="2.2 0 1.4" xyaxes="0 1 0 -0.45 0 0.89" fovy="45"/>
    <camera name="side" pos="0 -2.2 0.8" xyaxes="1 0 0 0 0.2 0.98" fovy="45"/>
    <geom type="plane" size="3 3 0.1" material="floor"/>
    <body pos="-0.2 0 0.6">
      <joint name="hinge" type="hinge" axis="0 1 0" damping="0.2"/>
      <geom type="capsule" fromto="0 0 0 -0.3 0 0.1" size="0.04" material="steel"/>
    </body>
    <body pos="0 0.5 0.5">
      <freejoint/>
      <geom name="blue" type="box" size="0.12 0.12 0.12" rgba="0.05 0.05 0.9 1"/>
    </body>
    <body name="marker" mocap="true" pos="0 -0.4 0.4">
      <geom type="sphere" size="0.06" rgba="1 0.05 0.05 1" contype="0" conaffinity="0"/>
    </body>
  </worldbody>
  <actuator><position joint="hinge" kp="20"/></actuator>
</mujoco>
"""
