"""A pretended CUDA device: tensors lie on the CPU with their true values, and those that would lie on the GPU are marked.

It raises on a mix of devices, as CUDA does, on what has no deterministic algorithm there, and counts how often the host would
wait for the device. It sees no kernels, no memory and no compiler.
"""

import contextlib
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import torch
import torch._dynamo  # its late import would see the replaced functions, and so would that of diffusers
import torch.optim.optimizer
from torch import Tensor
from torch._C import _functorch as functorch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

with contextlib.suppress(ImportError):
    from diffusers import UNet2DModel  # noqa: F401

ROOT = str(Path(__file__).parents[1])
CUDA = torch.device("cuda", 0)
WORDS = {
    "new": "zeros ones empty full rand randn randint randperm arange tensor as_tensor eye linspace logspace",
    "like": "zeros_like ones_like empty_like full_like randn_like rand_like randint_like",
    "indexed": "index index_put index_put_ _unsafe_index _unsafe_index_put",
    "takes numbers": "where lerp lerp_ fill_ masked_fill masked_fill_ _foreach_mul_ _foreach_mul",
    "needs values": "_local_scalar_dense nonzero masked_select _unique2 unique_dim unique_consecutive equal _linalg_eigh "
    "linalg_eig _linalg_svd linalg_matrix_exp bincount repeat_interleave",
    "never deterministic": "histc kthvalue put_ median_dim max_pool3d_with_indices reflection_pad2d_backward",
}
KINDS = {kind: set(words.split()) for kind, words in WORDS.items()}


class Mismatch(RuntimeError):
    """What CUDA refuses."""


class OfCuda(torch.Generator):
    device = CUDA


def is_cuda(device):
    return device is not None and torch.device(device).type == "cuda"


def line():
    """The innermost line of this repository that is being executed."""
    frame = sys._getframe(1)
    while frame and (
        not frame.f_code.co_filename.startswith(ROOT)
        or frame.f_code.co_filename == __file__
        or "site-packages" in frame.f_code.co_filename
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename[len(ROOT) + 1 :]}:{frame.f_lineno}" if frame else "elsewhere"


class Pretended(TorchDispatchMode):
    """While entered, the device "cuda" works.

    Attributes:
        waits: how often the host would wait, by line and kind.
    """

    def __init__(self):
        super().__init__()
        self.waits, self._there = Counter(), {}

    def wait(self, kind):
        self.waits[f"{line()} {kind}"] += 1

    @staticmethod
    def _storage(x):
        while functorch.is_functorch_wrapped_tensor(x):
            x = functorch.get_unwrapped(x)
        return x.untyped_storage()

    def on(self, x):
        known = self._there.get(self._storage(x)._cdata)
        return known is not None and not known.expired()

    def mark(self, x):
        known = StorageWeakRef(self._storage(x))
        self._there[known.cdata] = known
        return x

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, function.overloadpacket.__name__
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = [self.on(x) for x in tensors]
        if not any(there):
            return function(*args, **kwargs)
        picks = [x for x in args[1] if x is not None] if name in KINDS["indexed"] else []
        strangers = [x for x, on in zip(tensors, there, strict=True) if not on]
        self._refuse_mixes(function, name, [x for x in strangers if not any(x is pick for pick in picks)])
        if name in KINDS["never deterministic"] or (name == "cumsum" and args[0].is_floating_point()):
            raise Mismatch(f"{name} at {line()} has no deterministic algorithm on CUDA")
        masks = any(pick.dtype in (torch.bool, torch.uint8) for pick in picks)
        one_number = "put" in name and len(picks) == 1 and args[2].numel() == 1  # is a masked_fill
        if name in KINDS["needs values"] or (masks and not one_number):
            self.wait(name)
        elif name == "copy_" and strangers and not (len(args) > 2 and args[2] and self.on(args[0])):
            self.wait("copy")
        elif picks and strangers:
            self.wait("copy of indices")
        found = function(*args, **kwargs)
        if name != "copy_":
            for x in tree_leaves(found):
                self.mark(x) if isinstance(x, Tensor) else None
        return found

    @staticmethod
    def _refuse_mixes(function, name, strangers):
        """CUDA takes numbers, (), from the CPU in some operations, and whole tensors in copies alone."""
        if torch.Tag.pointwise in function.tags or name in KINDS["takes numbers"] | KINDS["indexed"]:
            strangers = [x for x in strangers if x.dim()]
        if strangers and name != "copy_":
            raise Mismatch(f"{name} at {line()}: cuda:0 and cpu {[tuple(x.shape) for x in strangers]}")

    def _to(self, real, x, *args, **kwargs):
        other = kwargs.pop("other", args[0] if args and isinstance(args[0], Tensor) else None)
        if other is not None:
            args = other.device, other.dtype, *args[1:]
        kwargs.pop("copy", None)
        device, dtype, free, layout = torch._C._nn._parse_to(*args, **kwargs)
        kept = {"dtype": dtype, "memory_format": layout}
        changed = {name: value for name, value in kept.items() if value is not None}
        if device is None or is_cuda(device) == self.on(x):
            return real(x, **changed) if changed else x
        if not (free and is_cuda(device)):  # from pageable memory it is staged before the call returns
            self.wait("to")
        with _disable_current_modes():
            moved = x.detach().clone()
            moved = real(moved, **changed) if changed else moved
        return self.mark(moved) if is_cuda(device) else moved

    def _made(self, real, like, *args, **kwargs):
        device, generator, out = (kwargs.get(name) for name in ("device", "generator", "out"))
        source = args[0] if like else out
        there = is_cuda(device) if device is not None else isinstance(source, Tensor) and self.on(source)
        if generator is not None and there != isinstance(generator, OfCuda):
            raise Mismatch(f"{real.__name__} at {line()}: its generator is of another device")
        if there and real.__name__ in ("tensor", "as_tensor"):
            self.wait(real.__name__)
        made = real(*args, **(kwargs | ({} if device is None else {"device": "cpu"})))
        return self.mark(made) if there else made

    def _taken(self, real, x, *args, **kwargs):
        if self.on(x):
            raise Mismatch(f"numpy at {line()}: can't convert a tensor of cuda:0")
        return real(x, *args, **kwargs)

    def _listed(self, real, x):
        if not self.on(x):
            return real(x)
        self.wait("tolist")
        with _disable_current_modes():
            return real(x)

    def _grouped(self, real, *args, **kwargs):
        return {
            (CUDA if self.on(lists[0][0][0]) else device, dtype): lists
            for (device, dtype), lists in real(*args, **kwargs).items()
        }

    def __enter__(self):
        self._undo = contextlib.ExitStack()

        def replace(owner, name, made):
            self._undo.enter_context(mock.patch.object(owner, name, made))

        def through(way, real, *first):
            return lambda *args, **kwargs: way(real, *first, *args, **kwargs) if first else way(real, *args, **kwargs)

        to, device, generator, cast = Tensor.to, Tensor.device, torch.Generator, torch.autocast
        for name in KINDS["new"] | KINDS["like"]:
            replace(torch, name, through(self._made, getattr(torch, name), name in KINDS["like"]))
        replace(torch.fft, "fftfreq", through(self._made, torch.fft.fftfreq, False))
        replace(Tensor, "to", through(self._to, to))
        replace(Tensor, "cpu", lambda x, **_: self._to(to, x, "cpu"))
        replace(Tensor, "cuda", lambda x, **_: self._to(to, x, CUDA))
        replace(Tensor, "tolist", through(self._listed, Tensor.tolist))
        for name in ("numpy", "__array__"):
            replace(Tensor, name, through(self._taken, getattr(Tensor, name)))
        replace(Tensor, "device", property(lambda x: CUDA if self.on(x) else device.__get__(x)))
        replace(Tensor, "is_cuda", property(self.on))
        replace(Tensor, "is_cpu", property(lambda x: not self.on(x)))
        for module in ("torch.nn.utils.clip_grad", "torch.optim.optimizer"):
            name = "_group_tensors_by_device_and_dtype"
            replace(sys.modules[module], name, through(self._grouped, getattr(sys.modules[module], name)))

        replace(torch, "Generator", lambda device="cpu": OfCuda() if is_cuda(device) else generator())
        replace(torch, "autocast", lambda kind, *args, **kwargs: cast("cpu", *args, **kwargs))
        replace(torch.cuda, "synchronize", lambda *_: self.wait("synchronize"))
        replace(torch.cuda, "get_device_name", lambda *_: "pretended")
        replace(torch.cuda, "empty_cache", lambda: None)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._undo.close()
