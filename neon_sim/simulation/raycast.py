"""A camera that needs no GL at all: ``mj_multiRay`` and Lambert shading in numpy.

It sees what the default renderer sees, from the same camera geometry: geoms of the visible
groups with their own or their material's colour, lit by the headlight and the model's
lights, before a sky that follows the skybox texture. It has no shadows, reflections,
highlights or texture detail (a textured geom has its texture's mean colour), and it draws
no sites and tendons. The same state gives the same bytes in every process.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_sim.errors import RendererError
from neon_sim.simulation.gl import mujoco

DEFAULT_GEOM_RGBA = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)  # "not set" in MJCF
_SKY_FACE = {"up": 2, "down": 3, "front": 4}  # order of a cube map's faces in tex_data


def pixel_rays(height: int, width: int, fovy_deg: float) -> np.ndarray:
    """Unit directions through the pixel centres of a pinhole camera that looks along -z.

    Args:
        height, width: pixels.
        fovy_deg: full vertical field of view in degrees.

    Returns:
        (height * width, 3) float64, rows from the top, x to the right, y up.
    """
    half = np.tan(np.radians(fovy_deg) / 2)
    x = (np.arange(width) + 0.5 - width / 2) / (height / 2) * half
    y = -(np.arange(height) + 0.5 - height / 2) / (height / 2) * half
    rays = np.stack([*np.meshgrid(x, y), np.full((height, width), -1.0)], axis=-1).reshape(-1, 3)
    directions: np.ndarray = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return directions


def _texture(model: Any, index: int) -> np.ndarray:
    """Pixels of a texture as (H, W, 3) float64 in [0, 1]."""
    height, width = int(model.tex_height[index]), int(model.tex_width[index])
    channels, start = int(model.tex_nchannel[index]), int(model.tex_adr[index])
    pixels = model.tex_data[start : start + height * width * channels]
    pixels = pixels.reshape(height, width, channels) / 255.0
    return pixels[..., :3] if channels >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)


def _material_tint(model: Any) -> np.ndarray:
    """Mean colour of every material's RGB texture, white without one: (nmat + 1, 3).

    The last row is white and stands for "no material" (index -1).
    """
    tint = np.ones((model.nmat + 1, 3))
    role = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
    for material in range(model.nmat):
        texture = int(model.mat_texid[material, role])
        if texture >= 0:
            tint[material] = _texture(model, texture).mean(axis=(0, 1))
    return tint


def _sky_table(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """The sky's colour by elevation: ((K,) radians ascending, (K, 3) colours in [0, 1])."""
    skies = np.flatnonzero(model.tex_type == int(mujoco.mjtTexture.mjTEXTURE_SKYBOX))
    if len(skies) == 0:
        return np.array([0.0]), np.zeros((1, 3))  # the default renderer clears to black
    pixels = _texture(model, int(skies[0]))
    size = pixels.shape[1]
    faces = {name: pixels[k * size : (k + 1) * size] for name, k in _SKY_FACE.items()}
    if pixels.shape[0] == size:  # one square image serves every side
        faces = dict.fromkeys(_SKY_FACE, pixels)
    centre = size // 2
    rows = np.arctan(2 * (np.arange(size) + 0.5) / size - 1)
    elevation = np.concatenate([[-np.pi / 2], rows, [np.pi / 2]])
    front = faces["front"][::-1].mean(axis=1)
    ends = faces["down"][centre, centre], faces["up"][centre, centre]
    return elevation, np.concatenate([ends[0][None], front, ends[1][None]])


class RaycastCamera:
    """Draws one size of image of a model by casting a ray through every pixel.

    Args:
        model: compiled model; its colours are read anew at every image.
        height, width: pixels.
    """

    def __init__(self, model: Any, height: int, width: int) -> None:
        self._model, self._shape = model, (height, width)
        self._rays: dict[int, np.ndarray] = {}
        self._tint = _material_tint(model)
        self._sky = _sky_table(model)
        self._groups = mujoco.MjvOption().geomgroup.copy()
        self._cutoff = float(model.vis.map.zfar * model.stat.extent)

    def render(self, data: Any, camera_id: int) -> np.ndarray:
        """Draw ``data`` (after kinematics) from a fixed camera as (H, W, 3) uint8.

        Raises:
            RendererError: the camera is orthographic or given by sensor size.
        """
        directions = self._camera_rays(camera_id) @ data.cam_xmat[camera_id].reshape(3, 3).T
        origin = data.cam_xpos[camera_id].copy()
        rgba = self._geom_rgba()
        colour, alpha = self._shade(data, camera_id, origin, directions, rgba)
        behind = np.flatnonzero(alpha < 1.0)
        if len(behind):  # one layer of translucency: what lies behind every translucent geom
            solid = rgba * [1, 1, 1, 0]
            solid[:, 3] = rgba[:, 3] >= 1.0
            far = self._shade(data, camera_id, origin, directions[behind], solid)[0]
            weight = alpha[behind, None]
            colour[behind] = weight * colour[behind] + (1.0 - weight) * far
        image = np.clip(colour * 255.0 + 0.5, 0, 255).astype(np.uint8)
        return image.reshape(*self._shape, 3)

    def hits(self, data: Any, camera_id: int) -> tuple[np.ndarray, np.ndarray]:
        """What is seen of ``data`` (after kinematics), and where, from a fixed camera.

        Returns:
            Geom ids (H * W,) int32, -1 for the sky, and the way from the camera to what is
            seen (H * W, 3) float64 in world axes; a unit vector for the sky.

        Raises:
            RendererError: the camera is orthographic or given by sensor size.
        """
        directions = self._camera_rays(camera_id) @ data.cam_xmat[camera_id].reshape(3, 3).T
        origin = data.cam_xpos[camera_id].copy()
        geom, distance, _ = self._cast(data, origin, directions, self._geom_rgba())
        return geom, directions * np.where(geom >= 0, distance, 1.0)[:, None]

    def close(self) -> None:
        """Nothing to free: no GL context exists."""

    def _camera_rays(self, camera_id: int) -> np.ndarray:
        if camera_id not in self._rays:
            model = self._model
            ortho = int(mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC)
            if model.cam_projection[camera_id] == ortho or model.cam_sensorsize[camera_id].any():
                raise RendererError(
                    f"the ray-cast camera needs a perspective camera with fovy (camera "
                    f"{camera_id} has none); use fovy, or NEON_RENDERER=egl or osmesa."
                )
            self._rays[camera_id] = pixel_rays(*self._shape, float(model.cam_fovy[camera_id]))
        return self._rays[camera_id]

    def _geom_rgba(self) -> np.ndarray:
        """(ngeom, 4) float64 colours: a geom's own when it has one, else its material's."""
        model = self._model
        rgba: np.ndarray = model.geom_rgba.astype(np.float64)
        if model.nmat:
            unset = (model.geom_matid >= 0) & (model.geom_rgba == DEFAULT_GEOM_RGBA).all(axis=1)
            rgba[unset] = model.mat_rgba[model.geom_matid[unset]]
        return rgba

    def _shade(
        self,
        data: Any,
        camera_id: int,
        origin: np.ndarray,
        directions: np.ndarray,
        rgba: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colours (N, 3) and opacities (N,) that the rays meet first; the sky is opaque."""
        geom, distance, normal = self._cast(data, origin, directions, rgba)
        colour = self._sky_colour(directions)
        alpha = np.ones(len(directions))
        hit = np.flatnonzero(geom >= 0)
        if len(hit) == 0:
            return colour, alpha
        ids = geom[hit]
        points = origin + distance[hit, None] * directions[hit]
        light = self._light(data, camera_id, points, normal[hit])
        materials = self._model.geom_matid[ids]
        if self._model.nmat:
            emission = np.where(materials >= 0, self._model.mat_emission[materials], 0.0)
            light += emission[:, None]
        colour[hit] = np.minimum(rgba[ids, :3] * light, 1.0) * self._tint[materials]
        alpha[hit] = rgba[ids, 3]
        return colour, alpha

    def _cast(
        self, data: Any, origin: np.ndarray, directions: np.ndarray, rgba: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First hits: geom ids (N,) int32 (-1: none), distances (N,), unit normals (N, 3).

        ``mj_multiRay`` skips alpha-0 colours, but reads a geom's material before its own
        colour; so the final colours stand in the model while it runs.
        """
        model, count = self._model, len(directions)
        geom, distance = np.full(count, -1, dtype=np.int32), np.full(count, -1.0)
        normal = np.zeros(3 * count)
        before = model.geom_rgba.copy(), model.geom_matid.copy()
        model.geom_rgba[:], model.geom_matid[:] = rgba, -1
        try:
            mujoco.mj_multiRay(
                model,
                data,
                origin,
                np.ascontiguousarray(directions).reshape(-1),
                self._groups,
                True,
                -1,
                geom,
                distance,
                normal,
                count,
                self._cutoff,
            )
        finally:
            model.geom_rgba[:], model.geom_matid[:] = before
        return geom, distance, normal.reshape(-1, 3)

    def _light(
        self, data: Any, camera_id: int, points: np.ndarray, normals: np.ndarray
    ) -> np.ndarray:
        """Ambient plus diffuse light at surface points: (N, 3); OpenGL's fixed-function law."""
        model, head = self._model, self._model.vis.headlight
        total = np.zeros((len(points), 3))
        if head.active:
            forward = -data.cam_xmat[camera_id].reshape(3, 3)[:, 2]
            total += head.ambient + np.maximum(normals @ -forward, 0.0)[:, None] * head.diffuse
        directional = int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
        for index in np.flatnonzero(model.light_active):
            axis = data.light_xdir[index]
            if model.light_type[index] == directional:
                gain, strength = np.maximum(normals @ -axis, 0.0), np.ones(len(points))
            else:
                to_light = data.light_xpos[index] - points
                far = np.sqrt(np.einsum("ij,ij->i", to_light, to_light))
                to_light /= np.maximum(far, 1e-9)[:, None]
                strength = self._spot(int(index), far, -(to_light @ axis))
                gain = np.maximum(np.einsum("ij,ij->i", normals, to_light), 0.0)
            total += strength[:, None] * model.light_ambient[index]
            total += (strength * gain)[:, None] * model.light_diffuse[index]
        return total

    def _spot(self, index: int, far: np.ndarray, cosine: np.ndarray) -> np.ndarray:
        """Attenuation and spot cone of a light: (N,) in [0, 1]."""
        model = self._model
        constant, linear, square = model.light_attenuation[index]
        strength: np.ndarray = 1.0 / np.maximum(constant + linear * far + square * far**2, 1e-9)
        if model.light_cutoff[index] < 180.0:
            inside = cosine >= np.cos(np.radians(model.light_cutoff[index]))
            strength *= inside * np.maximum(cosine, 0.0) ** model.light_exponent[index]
        return strength

    def _sky_colour(self, directions: np.ndarray) -> np.ndarray:
        elevation, colours = self._sky
        angle = np.arcsin(np.clip(directions[:, 2], -1.0, 1.0))
        return np.stack([np.interp(angle, elevation, colours[:, k]) for k in range(3)], axis=1)
