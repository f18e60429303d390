"""A model: a process and a denoiser, with its evaluations counted."""

from __future__ import annotations

import copy
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from mibench.diffusion.denoisers import Denoiser, NetworkDenoiser
from mibench.diffusion.memory import bytes_held
from mibench.diffusion.networks import EMPTY, conditioned
from mibench.diffusion.process import Kernel, LinearSDE
from mibench.errors import MibenchError, NotApplicable
from mibench.kinds import Access

__all__ = ["Cost", "EvaluationCache", "Model", "network_of"]

LEVELS = get_args(Access)
AT_ONCE = 1 << 21  # numbers of a batch that go through a network at a time, where nothing is differentiated
HELD = 1 << 33  # bytes that autograd may keep of a batch, where it is differentiated


@dataclass
class Cost:
    """Requested evaluations of the network, counted in samples: forwards and vector–Jacobian products.

    A vector–Jacobian product is one backward pass through the answer to one sample, whoever asks torch for it. A pass that
    torch batches by itself (``is_grads_batched``, ``torch.func.jacrev``) counts once.
    """

    forwards: int = 0
    vjps: int = 0


class EvaluationCache:
    """Answers of denoisers, so that no point is evaluated twice, however many attacks need it.

    A point is one batch of states, bit for bit, at one time.

    Args:
        limit: bytes of answers that are kept; the oldest are dropped first.

    Attributes:
        requested: evaluations that were requested, in samples.
        computed: evaluations that were computed.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self.limit, self.requested, self.computed = limit, 0, 0
        self._answers: OrderedDict[tuple[Denoiser, float, bytes], Tensor] = OrderedDict()
        self._size = 0

    def get_or_compute(self, denoiser: Denoiser, u: Tensor, t: float, kernel: Kernel) -> Tensor:
        """The denoiser's answer to u (B, n, *item) at t."""
        key = (denoiser, t, hashlib.blake2b(u.contiguous().cpu().numpy().tobytes(), digest_size=16).digest())
        self.requested += len(u)
        if key not in self._answers:
            self.computed += len(u)
            answer = denoiser(u, kernel)
            self._answers[key] = answer
            self._size += answer.nbytes
            while self._size > self.limit:
                self._size -= self._answers.popitem(last=False)[1].nbytes
            return answer.clone()
        return self._answers[key].clone()

    def clear(self) -> None:
        """Drop every answer; the counts stay."""
        self._answers.clear()
        self._size = 0


class Model:
    """A process and its denoiser.

    A conditional model answers under the conditions of the samples that ``at_rest`` or ``noised`` was last given, or under those
    that ``under`` was given; samples that are unknown, such as neighbours of a sample, change nothing.

    Args:
        process: the linear SDE.
        denoiser: predicts ε_n of a state.
        shape: the shape of one data item.
        device: where states live.
        cache: shared by all that query this denoiser on the same batches; used on the CPU.
        condition_of: gives the conditions (B, *item) of samples (B, *item), or None where one of them is unknown.

    Raises:
        MibenchError: where double precision cannot resolve the noise of a state at t_min.
    """

    def __init__(
        self,
        process: LinearSDE,
        denoiser: Denoiser,
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        cache: EvaluationCache | None = None,
        condition_of: Callable[[Tensor], Tensor | None] | None = None,
    ) -> None:
        self.process, self.shape, self.device = process, shape, torch.device(device)
        self.cache = cache
        self.cost = Cost()
        self._denoiser = denoiser
        self._conditioned, self.condition_of = conditioned(denoiser), condition_of
        self._conditions: Tensor | None = None
        self._held: dict[Denoiser, int] = {}
        self._access: Access = "weights"
        self._who = ""
        kernel = process.kernel(process.t_min)
        lost = (kernel.inverse[0, -1] * kernel.mean_coef[0]).abs().sum().item() * 2**-53
        if lost > 1e-3:
            raise MibenchError(
                f"order {process.order} cannot be distinguished from its noise at t_min = {process.t_min:g}: rounding a state to "
                f"double precision moves ε_n by {lost:.0e}; raise t_min or lower the order"
            )

    def for_access(self, access: Access, who: str) -> Model:
        """The same model restricted to an access, with counts of its own.

        Args:
            access: "data" and "samples" may not evaluate the network, "network" may not differentiate it, and only
                "weights" may use the denoiser; anything else raises a MibenchError.
            who: such as "attack pia", for that error.
        """
        restricted = copy.copy(self)
        restricted._access, restricted._who, restricted.cost = access, who, Cost()
        return restricted

    def require(self, access: Access, what: str) -> None:
        """Check that the declared access includes another one; MibenchError, naming what was asked for."""
        if LEVELS.index(self._access) < LEVELS.index(access):
            raise MibenchError(f"{self._who} asked for the model's {what}; it declares access {self._access!r}")

    @property
    def denoiser(self) -> Denoiser:
        """The denoiser; needs access to the weights."""
        self.require("weights", "weights")
        return self._denoiser

    @denoiser.setter
    def denoiser(self, denoiser: Denoiser) -> None:
        self.require("weights", "weights")
        self._denoiser, self._conditioned = denoiser, conditioned(denoiser)

    @property
    def data_variance(self) -> float:
        """Mean square of the data, if the denoiser knows it; else 0."""
        return getattr(self._denoiser, "data_variance", 0.0)

    @property
    def is_conditional(self) -> bool:
        """Whether its network is given conditions."""
        return self._conditioned is not None

    @property
    def has_empty(self) -> bool:
        """Whether its network also answers under the empty condition."""
        return self._conditioned is not None and self._conditioned.has_empty

    def under_none(self, count: int) -> None:
        """Answer ``count`` states at a time under the empty condition, until a sample's own is found again.

        Raises:
            NotApplicable: where the model is not conditional, or knows no empty condition.
        """
        if not self.has_empty:
            what = "knows no empty condition" if self.is_conditional else "is not conditional"
            raise NotApplicable(f"the model {what}")
        self.under(torch.full((count,), EMPTY))

    def under(self, conditions: Tensor) -> None:
        """Answer under these conditions (B, *item) from now on, B states at a time."""
        self._conditions = conditions.to(self.device)

    def _find_conditions(self, x: Tensor) -> None:
        if self._conditioned is not None and self.condition_of is not None:
            found = self.condition_of(x)
            self._conditions = self._conditions if found is None else found

    def _select_conditions(self, rows: slice, count: int) -> None:
        """Set the conditions of these rows of a batch of ``count`` states; all where their numbers differ, which is refused."""
        if self._conditioned is not None:
            known = self._conditions
            fits = known is not None and len(known) == count
            self._conditioned.current = known[rows] if known is not None and fits else known

    def at_rest(self, x: Tensor) -> Tensor:
        """u_0 = (x, 0, …, 0): data (B, *item) with the auxiliaries at their mean, (B, n, *item) float64."""
        self._find_conditions(x)
        rest = torch.zeros(len(x), self.process.order - 1, *self.shape, dtype=torch.float64, device=self.device)
        return torch.cat([x[:, None].to(self.device, torch.float64), rest], dim=1)

    def noised(self, x: Tensor, eps: Tensor, t: float) -> Tensor:
        """u_t = E[:, 0] x + L ε: (B, *item) and (n, *item) or (B, n, *item) to (B, n, *item)."""
        self._find_conditions(x)
        kernel = self.kernel(t)
        eps = eps.expand(len(x), *eps.shape[-1 - len(self.shape) :])
        return torch.einsum("ij,bj...->bi...", kernel.factor[0], eps) + torch.einsum(
            "i,b...->bi...", kernel.mean_coef[0], x
        )

    @property
    def state_shape(self) -> tuple[int, ...]:
        """(n, *item), the shape of a state."""
        return self.process.order, *self.shape

    def kernel(self, t: float | Tensor) -> Kernel:
        """The kernel of the process at t, on the model's device."""
        return self.process.kernel(t, self.device)

    def eps(self, u: Tensor, t: float | Tensor) -> Tensor:
        """ε_θ(u, t): the prediction of ε_n, the whitened noise of the last variable.

        Args:
            u: (B, n, *item) states, float64.
            t: one time for all, or (B,) float64 times on the CPU.

        Returns:
            (B, *item), float64. Torch can differentiate it, under ``torch.enable_grad()``, where the access includes
            gradients and the denoiser has them; each backward pass through it is counted.
        """
        self.require("network", "answers")
        self.cost.forwards += len(u)
        if self._access == "network":
            if torch.is_grad_enabled() and u.requires_grad:
                self.require("gradients", "gradients")
            with torch.no_grad():
                return self._answer(u.detach(), t)  # detached, since no_grad lets derivatives of forward mode pass
        answer = self._answer(u, t)
        if answer.requires_grad:
            answer.register_hook(lambda gradient: self._count_backward(len(u)))  # type: ignore[no-untyped-call]
        return answer

    def _count_backward(self, samples: int) -> None:
        self.cost.vjps += samples

    def _answer(self, u: Tensor, t: float | Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self._select_conditions(slice(None), len(u))
            return self._denoiser(u, self.kernel(t))
        rows = max(1, AT_ONCE // math.prod(self.shape))
        parts = torch.split(u, rows)
        times: Sequence[float | Tensor] = torch.split(t, rows) if isinstance(t, Tensor) else [t] * len(parts)
        answers = []
        for k, (part, time) in enumerate(zip(parts, times, strict=True)):
            self._select_conditions(slice(k * rows, (k + 1) * rows), len(u))
            answers.append(self._cached(part, time))
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def _cached(self, u: Tensor, t: float | Tensor) -> Tensor:
        looked_at = (
            u.device.type == "cpu" and not self.is_conditional
        )  # on a GPU that would wait; conditions are not seen
        if self.cache is None or isinstance(t, Tensor) or not looked_at:
            return self._denoiser(u, self.kernel(t))
        return self.cache.get_or_compute(self._denoiser, u, t, self.kernel(t))

    def residual(self, x: Tensor, eps: Tensor, t: float) -> Tensor:
        """ε_θ(u_t, t) − ε_n with u_t = E[:, 0] x + L ε: the error of the answer on noised samples.

        Args:
            x: (B, *item) samples.
            eps: (n, *item) noise, the same for all samples.
            t: the time.

        Returns:
            (B, *item), float64.
        """
        return self.eps(self.noised(x, eps, t), t) - eps[-1]

    def eps_vjp(self, u: Tensor, t: float, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """ε_θ(u, t) and vᵀ ∂ε_θ/∂u_n for K vectors v; one forward, K vector–Jacobian products.

        Args:
            u: (B, n, *item) states.
            t: one time for all.
            vectors: (K, *item), shared by all samples.

        Returns:
            ε (B, *item) and the products with respect to the last variable (K, B, *item).

        Raises:
            NotApplicable: where the denoiser's answers have no gradients.
        """
        self.require("gradients", "gradients")
        rows, whole, parts = self._rows(u, t), self._conditions, []
        for k, part in enumerate(torch.split(u, rows)):
            if whole is not None and len(whole) == len(u):
                self._conditions = whole[k * rows : (k + 1) * rows]
            parts.append(self._eps_vjp(part, t, vectors))
        self._conditions = whole
        if len(parts) == 1:
            return parts[0]
        answers, products = zip(*parts, strict=True)
        return torch.cat(answers), torch.cat(products, dim=1)

    def _eps_vjp(self, u: Tensor, t: float, vectors: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            eps = self.eps(u, t)
            if not eps.requires_grad:
                raise NotApplicable("the answers of this model have no gradients")
            products = []
            for k, v in enumerate(vectors):
                (grad,) = torch.autograd.grad(eps, u, v.expand_as(eps), retain_graph=k + 1 < len(vectors))
                products.append(grad[:, -1])
        return eps.detach(), torch.stack(products)

    def _rows(self, u: Tensor, t: float) -> int:
        """How many states may be differentiated at a time, so that autograd keeps at most ``HELD`` bytes."""
        if not isinstance(self._denoiser, NetworkDenoiser) or len(u) < 2:
            return max(1, len(u))
        if self._denoiser not in self._held:
            self._select_conditions(slice(1), len(u))
            self._held[self._denoiser] = bytes_held(self._denoiser, u[:1], self.kernel(t))
        return max(1, HELD // max(1, self._held[self._denoiser]))

    def predict_x0(self, u: Tensor, eps: Tensor, t: float) -> Tensor:
        """The estimate of q_0 that an ε_n stands for: [L⁻¹ (u − E[:, 0] q̂_0)]_n = ε_n, solved for q̂_0; (B, *item)."""
        kernel = self.kernel(t)
        whitened = torch.einsum("i,bi...->b...", kernel.inverse[0, -1], u)
        return (whitened - eps) / kernel.whitened_mean[0, -1]

    def step(self, u: Tensor, clean: Tensor, t0: float, t1: float) -> Tensor:
        """The probability-flow ODE from t0 to t1 with the estimate of q_0 frozen and the rest solved exactly.

        u(t1) = Ψ (u − E(t0)[:, 0] q̂_0) + E(t1)[:, 0] q̂_0; for VP this is DDIM (arXiv 2010.02502), in either direction.
        """
        psi, shift = self.process.move(t0, t1, self.device)
        return torch.einsum("ij,bj...->bi...", psi, u) + torch.einsum("i,b...->bi...", shift, clean)


def network_of(model: Model) -> NetworkDenoiser:
    """The denoiser of a model that can be trained."""
    assert isinstance(model.denoiser, NetworkDenoiser), "only a model with a network can be trained"
    return model.denoiser
