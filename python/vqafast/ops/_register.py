"""Registers `torch.ops.vqafast.cgin`, `hysteresis_pool` and `moment_pool`, with gradients, when imported.

The only module of the package that uses torch.library; nothing that scores imports it.

- **CPU** kernels and gradients are those of the C++ core, on as many threads as torch uses
  (`torch.set_num_threads`), which changes no bit. Any strides are taken as they are.
- **CUDA** kernels are there when the build has them (``vqafast doctor``). They run on torch's current stream,
  wait for nothing, and can be captured in a CUDA graph. ``lengths`` lie on the same device and, unread by
  the host, are clamped to 1..T instead of checked.
- **Fake** kernels give shapes, so `torch.compile` (dynamic shapes too) and `torch.export` see one opaque
  node per op.
- **Autocast** runs `cgin` and `hysteresis_pool` in float32, and so returns float32: they divide by
  deviations and compare scores, which half precision cannot carry. `moment_pool` needs no cast: it takes half
  maps as they are, accumulates in float32 and returns float32.
- **Second derivatives** are not there: differentiating a gradient raises `Unsupported`.
- ``lengths``: padding takes no part and gets a gradient of 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]  # public, but in no __all__

from vqafast import _core
from vqafast.errors import InvalidArgument, Unsupported

_extend: Any = torch.library  # partly untyped
_library = _extend.Library("vqafast", "DEF")
_PURE = (torch.Tag.pt2_compliant_tag,)
#: Devices that the build has kernels for, as torch names them.
DEVICES = ("cpu", "cuda") if _core.build_info()["cuda"] else ("cpu",)


def _define(name: str, schema: str, kernel: Any, fake: Any) -> None:
    _library.define(f"{name}{schema}", tags=_PURE)
    for device in DEVICES:
        _library.impl(name, kernel, device.upper())
    _extend.register_fake(f"vqafast::{name}", fake, lib=_library)


def _differentiable(name: str, setup: Any, backward: Any) -> None:
    _extend.register_autograd(f"vqafast::{name}", backward, setup_context=setup, lib=_library)


def _once_differentiable(name: str) -> None:
    def refuse(*_: Any) -> None:
        raise Unsupported(
            f"{name}: gradients must be taken once (there is no second derivative), got create_graph=True"
        )

    _extend.register_autograd(f"vqafast::{name}", refuse, lib=_library)


def _check_ndim(op: str, name: str, tensor: Tensor, ndim: int, axes: str) -> None:
    if tensor.dim() != ndim:
        raise InvalidArgument(
            f"{op}: {name} must have {ndim} dimensions {axes}, got shape {tuple(tensor.shape)}"
        )


def _lend(tensor: Tensor | None) -> Any:
    """`tensor` as the core reads it, in place: a DLPack capsule."""
    return None if tensor is None else to_dlpack(tensor)


def _where(tensor: Tensor) -> tuple[int, int]:
    """Threads and CUDA stream for the core."""
    if tensor.device.type == "cuda":
        return 0, torch.cuda.current_stream(tensor.device).cuda_stream
    return torch.get_num_threads(), 0


def _lend_lengths(op: str, lengths: Tensor | None) -> Any:
    if lengths is None:
        return None
    if lengths.dtype.is_floating_point or lengths.dtype.is_complex or lengths.dtype == torch.bool:
        raise InvalidArgument(f"{op}: lengths must be integers, got {lengths.dtype}")
    return to_dlpack(lengths.to(torch.int64))


# cgin


def _cgin(
    x: Tensor,
    y: Tensor,
    gamma_x: Tensor | None,
    theta_x: Tensor | None,
    gamma_y: Tensor | None,
    theta_y: Tensor | None,
    lengths: Tensor | None = None,
    mode: str = "cgin",
    eps: float = 1e-5,
) -> Tensor:
    out = _cgin_fake(x)
    _core.cgin(
        _lend(x),
        _lend(y),
        _lend(gamma_x),
        _lend(theta_x),
        _lend(gamma_y),
        _lend(theta_y),
        _lend_lengths("cgin", lengths),
        mode,
        eps,
        *_where(x),
        _lend(out),
    )
    return out


def _cgin_fake(x: Tensor, *_: Any, **__: Any) -> Tensor:
    _check_ndim("cgin", "x", x, 3, "(B, T, D)")
    return x.new_empty((x.shape[0], x.shape[1], 2 * x.shape[2]))


def _cgin_backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    gamma_x: Tensor | None,
    gamma_y: Tensor | None,
    lengths: Tensor | None = None,
    mode: str = "cgin",
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    out = _cgin_backward_fake(grad, x, y, gamma_x)
    _core.cgin_backward(
        _lend(grad),
        _lend(x),
        _lend(y),
        _lend(gamma_x),
        _lend(gamma_y),
        _lend_lengths("cgin_backward", lengths),
        mode,
        eps,
        *_where(x),
        _lend(out[0]),
        _lend(out[1]),
        None if gamma_x is None else _lend(out[2]),
        None if gamma_x is None else _lend(out[3]),
    )
    return out


def _cgin_backward_fake(
    _grad: Tensor, x: Tensor, _y: Tensor, gamma_x: Tensor | None, *_: Any, **__: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # Schemas have no optional results: without gamma its gradient is empty.
    modulation = x.shape if gamma_x is not None else (0,)
    return x.new_empty(x.shape), x.new_empty(x.shape), x.new_empty(modulation), x.new_empty(modulation)


def _cgin_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes it by name
    x, y, gamma_x, _, gamma_y, _, lengths, ctx.mode, ctx.eps = inputs
    ctx.save_for_backward(x, y, gamma_x, gamma_y, lengths)


def _cgin_gradients(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, y, gamma_x, gamma_y, lengths = ctx.saved_tensors
    d_x, d_y, d_gamma_x, d_gamma_y = torch.ops.vqafast.cgin_backward(
        grad, x, y, gamma_x, gamma_y, lengths, ctx.mode, ctx.eps
    )
    if gamma_x is None:
        return d_x, d_y, None, None, None, None, None, None, None
    if lengths is not None:
        padding = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        grad = grad.masked_fill(padding[:, :, None], 0.0)
    d_theta_x, d_theta_y = grad.chunk(2, dim=2)
    return d_x, d_y, d_gamma_x, d_theta_x, d_gamma_y, d_theta_y, None, None, None


# hysteresis_pool


def _hysteresis_pool(
    q: Tensor, lengths: Tensor | None = None, alpha: float = 0.5, beta: int = 6
) -> tuple[Tensor, Tensor]:
    pooled, series = _hysteresis_pool_fake(q)
    valid = _lend_lengths("hysteresis_pool", lengths)
    _core.hysteresis_pool(_lend(q), valid, alpha, beta, *_where(q), _lend(pooled), _lend(series))
    return pooled, series


def _hysteresis_pool_fake(q: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    _check_ndim("hysteresis_pool", "q", q, 2, "(B, T)")
    return q.new_empty((q.shape[0],)), q.new_empty(q.shape)


def _hysteresis_pool_backward(
    d_pooled: Tensor | None,
    d_series: Tensor | None,
    q: Tensor,
    lengths: Tensor | None = None,
    alpha: float = 0.5,
    beta: int = 6,
) -> Tensor:
    out = q.new_empty(q.shape)
    valid = _lend_lengths("hysteresis_pool_backward", lengths)
    _core.hysteresis_pool_backward(
        _lend(d_pooled), _lend(d_series), _lend(q), valid, alpha, beta, *_where(q), _lend(out)
    )
    return out


def _hysteresis_pool_backward_fake(_pooled: Any, _series: Any, q: Tensor, *_: Any, **__: Any) -> Tensor:
    return q.new_empty(q.shape)


def _hysteresis_pool_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG001 - torch passes it by name
    q, lengths, ctx.alpha, ctx.beta = inputs
    ctx.save_for_backward(q, lengths)
    ctx.set_materialize_grads(False)


def _hysteresis_pool_gradients(
    ctx: Any, d_pooled: Tensor | None, d_series: Tensor | None
) -> tuple[Tensor | None, None, None, None]:
    if d_pooled is None and d_series is None:
        return None, None, None, None
    q, lengths = ctx.saved_tensors
    d_q = torch.ops.vqafast.hysteresis_pool_backward(d_pooled, d_series, q, lengths, ctx.alpha, ctx.beta)
    return d_q, None, None, None


# moment_pool


def _moment_pool(x: Tensor, layout: str = "nchw") -> Tensor:
    out = _moment_pool_fake(x, layout)
    workspace = None
    if x.device.type == "cuda":
        doubles = _core.moment_pool_workspace(_lend(x), layout)
        workspace = _lend(torch.empty(doubles, dtype=torch.float64, device=x.device))
    _core.moment_pool(_lend(x), layout, *_where(x), _lend(out), workspace)
    return out


def _moment_pool_fake(x: Tensor, layout: str = "nchw") -> Tensor:
    _check_ndim("moment_pool", "x", x, 4, "(N, C, H, W) or (N, H, W, C)")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty((x.shape[0], 2 * x.shape[1 if layout == "nchw" else 3]), dtype=dtype)


def _channels_last(x: Tensor, layout: str) -> bool:
    return layout == "nchw" and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _moment_pool_backward(grad: Tensor, x: Tensor, moments: Tensor, layout: str = "nchw") -> Tensor:
    out = _moment_pool_backward_fake(grad, x, moments, layout)
    maps, result = x, out
    if _channels_last(x, layout):
        # The core writes results in the order of its axes.
        maps, result, layout = x.permute(0, 2, 3, 1), out.permute(0, 2, 3, 1), "nhwc"
    _core.moment_pool_backward(_lend(grad), _lend(maps), _lend(moments), layout, *_where(x), _lend(result))
    return out


def _moment_pool_backward_fake(_grad: Tensor, x: Tensor, _moments: Tensor, layout: str = "nchw") -> Tensor:
    last = _channels_last(x, layout)
    return torch.empty_like(x, memory_format=torch.channels_last if last else torch.contiguous_format)


def _moment_pool_setup(ctx: Any, inputs: tuple[Tensor, str], output: Tensor) -> None:
    x, ctx.layout = inputs
    ctx.save_for_backward(x, output)


def _moment_pool_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    x, moments = ctx.saved_tensors
    return torch.ops.vqafast.moment_pool_backward(grad, x, moments, ctx.layout), None


_define(
    "cgin",
    "(Tensor x, Tensor y, Tensor? gamma_x, Tensor? theta_x, Tensor? gamma_y, Tensor? theta_y, "
    "Tensor? lengths=None, str mode='cgin', float eps=1e-5) -> Tensor",
    _cgin,
    _cgin_fake,
)
_define(
    "cgin_backward",
    "(Tensor grad, Tensor x, Tensor y, Tensor? gamma_x, Tensor? gamma_y, Tensor? lengths=None, "
    "str mode='cgin', float eps=1e-5) -> (Tensor d_x, Tensor d_y, Tensor d_gamma_x, Tensor d_gamma_y)",
    _cgin_backward,
    _cgin_backward_fake,
)
_define(
    "hysteresis_pool",
    "(Tensor q, Tensor? lengths=None, float alpha=0.5, int beta=6) -> (Tensor pooled, Tensor series)",
    _hysteresis_pool,
    _hysteresis_pool_fake,
)
_define(
    "hysteresis_pool_backward",
    "(Tensor? d_pooled, Tensor? d_series, Tensor q, Tensor? lengths=None, float alpha=0.5, int beta=6) "
    "-> Tensor",
    _hysteresis_pool_backward,
    _hysteresis_pool_backward_fake,
)
_define("moment_pool", "(Tensor x, str layout='nchw') -> Tensor", _moment_pool, _moment_pool_fake)
_define(
    "moment_pool_backward",
    "(Tensor grad, Tensor x, Tensor moments, str layout='nchw') -> Tensor",
    _moment_pool_backward,
    _moment_pool_backward_fake,
)
_differentiable("cgin", _cgin_setup, _cgin_gradients)
_differentiable("hysteresis_pool", _hysteresis_pool_setup, _hysteresis_pool_gradients)
_differentiable("moment_pool", _moment_pool_setup, _moment_pool_gradients)
for _name in ("cgin_backward", "hysteresis_pool_backward", "moment_pool_backward"):
    _once_differentiable(_name)
for _name in ("cgin", "hysteresis_pool"):
    for _device in DEVICES:
        _extend.register_autocast(f"vqafast::{_name}", _device, torch.float32, lib=_library)
