"""The quadratic model of an objective at a point, and its minimum over a box: the step of Newton's method under limits.

    q(s) = ⟨g, s⟩ + ½ ⟨s, H s⟩      over l − w ≤ s ≤ u − w,      intercepts free

Steps are flat vectors of (K, p). A face (the coordinates that stand at a limit and would leave the box) is held,
Newton's step is taken on the others, and what leaves the box is cut off, with shorter steps until q falls enough
(Bertsekas 1982, SIAM J. Control Optim. 20). Coordinates that stand at a limit and that the step would move out join the
face first: without that the cut step need not descend.

The Hessian comes as a matrix, with a Cholesky factor for every face, or as products with passes over X, with conjugate
gradients on the face.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg

from ._objective import MultinomialObjective
from ._preconditioners import contrast_eigen
from ._rows import Floats

Bools = npt.NDArray[np.bool_]

EPS = float(np.finfo(np.float64).eps)
MAX_FACES = 40
DESCENT = 0.1
# Entries of the class blocks of the Hessian: 400 MB.
BLOCK_ENTRIES = 50_000_000


class Curvature(Protocol):
    """H, its diagonal or an estimate of it, and Newton's step on a face."""

    diagonal: Floats

    def product(self, s: Floats) -> Floats:
        """H s."""

    def newton(self, r: Floats, free: Bools) -> Floats:
        """About −(H_FF)⁻¹ r_F, 0 elsewhere."""


@dataclass(frozen=True)
class ModelStep:
    """A step, what q falls by there, and the faces that it took."""

    step: Floats
    decrease: float
    n_faces: int


def minimise_model(
    curvature: Curvature, gradient: Floats, low: Floats, high: Floats, accuracy: float, max_faces: int = MAX_FACES
) -> ModelStep:
    """Minimise q until its projected gradient, in units of √diag(H), has fallen by `accuracy`."""
    unit = 1.0 / np.sqrt(curvature.diagonal)
    s, r, value = np.zeros_like(gradient), gradient.copy(), 0.0
    goal, faces = -1.0, 0
    while True:
        free = ~(((s <= low) & (r >= 0)) | ((s >= high) & (r <= 0)))
        size = float(np.linalg.norm((r * unit)[free]))
        goal = accuracy * size if goal < 0 else goal
        if size <= goal or faces >= max_faces or not free.any():
            break
        faces += 1
        d = _face_step(curvature, r, s, low, high, free)
        moved = _search(curvature, r, s, d, low, high)
        if moved is None:
            moved = _search(curvature, r, s, np.where(free, -r / curvature.diagonal, 0.0), low, high)
        if moved is None:
            break
        s, change, r_change = moved
        value += change
        r = r + r_change
    return ModelStep(s, -value, faces)


def _face_step(curvature: Curvature, r: Floats, s: Floats, low: Floats, high: Floats, free: Bools) -> Floats:
    """Newton's step on the free coordinates; those at a limit that it would move out are held and it is repeated."""
    at_low, at_high = s <= low, s >= high
    while True:
        d = curvature.newton(r, free)
        out = free & ((at_low & (d < 0)) | (at_high & (d > 0)))
        if not out.any():
            return d
        free = free & ~out
        if not free.any():
            return np.zeros_like(d)


def _search(
    curvature: Curvature, r: Floats, s: Floats, d: Floats, low: Floats, high: Floats
) -> tuple[Floats, float, Floats] | None:
    """The first of s + d, s + d/2, …, cut to the box, where q falls enough: it, the changes of q and its gradient."""
    if not d.any():
        return None
    length = 1.0
    for _ in range(30):
        new = np.clip(s + length * d, low, high)
        move = new - s
        slope = float(r @ move)
        if slope < 0:
            curved = curvature.product(move)
            change = slope + 0.5 * float(move @ curved)
            if change <= DESCENT * slope:
                return new, change, curved
            # The minimum along a move that nothing was cut off; a guess otherwise.
            length *= float(np.clip(-slope / max(2 * (change - slope), 1e-300), 0.1, 0.5))
        else:
            length *= 0.25
    return None


class DenseCurvature:
    """H as a matrix of all K sets, from the contrasts that `reduced_hessian` gives."""

    def __init__(self, objective: MultinomialObjective) -> None:
        n_classes, width = objective.shape
        reference = int(np.argmax(objective.frequency))
        lower = objective.reduced_hessian(reference)
        size = len(lower)
        data = (np.tril(lower) + np.tril(lower, -1).T).reshape(n_classes - 1, width, n_classes - 1, width)
        others = np.delete(np.arange(n_classes), reference)
        full = np.zeros((n_classes, width, n_classes, width))
        full[others[:, None], :, others[None, :], :] = data.transpose(0, 2, 1, 3)
        # Adding the same to all classes changes no probability: the blocks of a row or column sum to 0.
        border = data.sum(axis=2)
        full[others, :, reference, :] = -border
        full[reference, :, others, :] = -border.transpose(0, 2, 1)
        full[reference, :, reference, :] = border.sum(axis=0)
        size = n_classes * width
        self._matrix = full.reshape(size, size)
        ridge = np.append(objective.ridge, 0.0) if objective.has_intercept else objective.ridge
        index = np.arange(size)
        self._matrix[index, index] += np.tile(ridge, n_classes)
        diagonal = self._matrix[index, index]
        self.diagonal = np.maximum(diagonal, EPS * max(float(diagonal.max()), 1e-300))
        self._unit = 1.0 / np.sqrt(self.diagonal)
        self._scaled = self._matrix * self._unit * self._unit[:, None]
        # What H does not see (equal changes of all classes without a penalty) it is not asked to move.
        self._scaled[index, index] += 1e-12
        self._factor: tuple[bytes, Floats] | None = None

    def product(self, s: Floats) -> Floats:
        """H s."""
        product: Floats = self._matrix @ s
        return product

    def newton(self, r: Floats, free: Bools) -> Floats:
        """−(H_FF)⁻¹ r_F by a factor, which is kept while the face stays."""
        key = free.tobytes()
        if self._factor is None or self._factor[0] != key:
            self._factor = (key, _cholesky(self._scaled[np.ix_(free, free)]))
        d = np.zeros_like(r)
        right = (r * self._unit)[free]
        d[free] = -scipy.linalg.cho_solve((self._factor[1], True), right, check_finite=False)
        return np.asarray(d * self._unit)


def _cholesky(matrix: Floats) -> Floats:
    """The lower factor of a matrix of unit diagonal, lifted as little as rounding asks for."""
    for power in range(-12, 1):
        try:
            factor: Floats = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            matrix = matrix + 10.0**power * np.eye(len(matrix))
        else:
            return factor
    return np.eye(len(matrix))


def _scaled_factor(matrix: Floats) -> Floats:
    """The lower factor of a matrix with any diagonal."""
    root = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scaled = matrix / root / root[:, None]
    scaled[np.diag_indices_from(scaled)] = 1.0 + 1e-10
    return np.asarray(_cholesky(scaled) * root[:, None])


class ProductCurvature:
    """H by passes over X. `second_moment` is Σ (d, d), or its diagonal (d,).

    Conjugate gradients on a face are preconditioned by (M ⊗ Σ + diag λ)⁻¹ between two projections on the face, with M
    the class covariance: Σ and diag λ are made diagonal together. Where that has cost as many products as the class
    blocks of H cost to assemble, the blocks take over: they can be restricted to a face before they are inverted.
    """

    def __init__(self, objective: MultinomialObjective, second_moment: Floats, limit: int = 200) -> None:
        self._objective = objective
        self._limit = limit
        self._forcing = 0.1
        spread = second_moment if second_moment.ndim == 1 else np.diag(second_moment)
        # A floor for columns without penalty; it only preconditions.
        self._ridge = np.maximum(objective.ridge, 1e-8 * np.maximum(spread, 1e-300))
        root = np.sqrt(self._ridge)
        self._vectors: Floats | None = None
        if second_moment.ndim == 2:
            values, vectors = scipy.linalg.eigh(second_moment / root / root[:, None], check_finite=False)
            self._values = np.maximum(values, 0.0)
            self._vectors = vectors / root[:, None]
        else:
            self._values = spread / self._ridge
        self._spread = spread
        self._spent = 0
        self._blocks: Floats | None = None
        self._factors: tuple[bytes, list[Floats]] | None = None

    def refresh(self) -> None:
        """Take the class covariance of the point evaluated last."""
        covariance = self._objective.class_covariance()
        values, vectors = contrast_eigen(covariance)
        size = len(covariance)
        self._class_values = np.append(values, 0.0)
        self._class_vectors = np.column_stack([vectors, np.full(size, 1.0 / np.sqrt(size))])
        slope = np.maximum(np.diag(covariance), EPS)
        diagonal = slope[:, None] * self._spread + self._ridge
        if self._objective.has_intercept:
            diagonal = np.column_stack([diagonal, slope])
        self.diagonal: Floats = diagonal.ravel()
        width = self._objective.shape[1]
        if size * width**2 <= BLOCK_ENTRIES and 4 * self._spent >= width:
            ridge = np.append(self._ridge, 0.0) if self._objective.has_intercept else self._ridge
            self._blocks = self._objective.class_blocks()
            self._blocks[:, np.arange(width), np.arange(width)] += ridge
            self._factors, self._spent = None, 0

    def product(self, s: Floats) -> Floats:
        """H s."""
        self._spent += 1
        return self._objective.hessian_product(s.reshape(self._objective.shape)).ravel()

    def newton(self, r: Floats, free: Bools) -> Floats:
        """−(H_FF)⁻¹ r_F by conjugate gradients."""
        residual = np.where(free, -r, 0.0)
        solution = np.zeros_like(r)
        image = self._inverse(residual, free)
        direction = image
        size = float(residual @ image)
        goal = self._forcing**2 * size
        for _ in range(self._limit):
            curved = np.where(free, self.product(direction), 0.0)
            curvature = float(direction @ curved)
            if not curvature > 0:
                return solution if solution.any() else direction
            solution = solution + (size / curvature) * direction
            residual = residual - (size / curvature) * curved
            image = self._inverse(residual, free)
            new_size = float(residual @ image)
            if not new_size > goal:
                break
            direction = image + (new_size / size) * direction
            size = new_size
        return solution

    def _inverse(self, residual: Floats, free: Bools) -> Floats:
        """The preconditioner on a face."""
        if self._blocks is None:
            return np.where(free, self._kronecker(residual), 0.0)
        key = free.tobytes()
        faces = free.reshape(self._objective.shape)
        if self._factors is None or self._factors[0] != key:
            own = zip(self._blocks, faces, strict=True)
            self._factors = (key, [_scaled_factor(block[np.ix_(face, face)]) for block, face in own])
        image = np.zeros(self._objective.shape)
        for row, part, face, factor in zip(image, residual.reshape(image.shape), faces, self._factors[1], strict=True):
            row[face] = scipy.linalg.cho_solve((factor, True), part[face], check_finite=False)
        return image.ravel()

    def _kronecker(self, residual: Floats) -> Floats:
        """The Kronecker inverse; equal changes of all intercepts are left out."""
        matrix = residual.reshape(self._objective.shape)
        intercept = self._objective.has_intercept
        rotated = self._class_vectors.T @ matrix
        coef = rotated[:, :-1] if intercept else rotated
        scale = np.outer(self._class_values, self._values) + 1.0
        if self._vectors is not None:
            coef = ((coef @ self._vectors) / scale) @ self._vectors.T
        else:
            coef = coef / (scale * self._ridge)
        if intercept:
            constant = np.zeros(len(rotated))
            constant[:-1] = rotated[:-1, -1] / self._class_values[:-1]
            coef = np.column_stack([coef, constant])
        return np.asarray(self._class_vectors @ coef).ravel()
