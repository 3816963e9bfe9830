"""Every private name of PyTorch that this package uses: why, and what happens without it.

PyTorch may rename these from one release to the next. Each is looked up here and nowhere else, with
a fallback that means "PyTorch's own way": a slower call, or nothing replaced and nothing cut. A
test takes each of them away in turn; the penalty must stay what the textbook says.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

_C: Any = torch._C


#: Every path that was looked up, and whether this PyTorch has it: for ``python -m wgan_fast``, and
#: for the test that takes them away.
LOOKED_UP: dict[str, bool] = {}


def _find(path: str) -> Any:
    """The object at a dotted path below ``torch``, or None."""
    found: Any = torch
    for name in path.split("."):
        found = getattr(found, name, None)
    LOOKED_UP[path] = found is not None
    return found


# torch.autograd.grad without what it does for other kinds of arguments: that is 7 us, a twentieth
# of the penalty of a small critic.
_engine_run_backward = _find("autograd.graph._engine_run_backward")


def input_gradient(scores: Tensor, points: Tensor, create_graph: bool) -> Tensor | None:
    """The gradient of the sum of ``scores`` with respect to ``points``; None if there is none."""
    ones = torch.ones_like(scores)
    if _engine_run_backward is None:
        return torch.autograd.grad(
            scores, points, ones, create_graph=create_graph, allow_unused=True
        )[0]
    return _engine_run_backward(
        (scores,), (ones,), create_graph, create_graph, (points,), True, accumulate_grad=False
    )[0]


# The types of PyTorch's own gradient functions. Nothing else can be mistaken for one of them,
# whatever it is called. A name that is not there is a function that this PyTorch does not have.
_functions = _find("_C._functions")


def node_type(name: str) -> type[Node] | None:
    """The type of PyTorch's gradient functions of this name."""
    return getattr(_functions, name, None)


#: The node that adds a gradient to a leaf.
ACCUMULATE_GRAD = _find("_C._functions.AccumulateGrad")


def is_leaf_node(node: Node) -> bool:
    """Whether a node is that of a leaf, ``node.variable``."""
    if ACCUMULATE_GRAD is None:
        return node.name() == "torch::autograd::AccumulateGrad"
    return type(node) is ACCUMULATE_GRAD


def has_hooks(tensor: Tensor) -> bool:
    """Whether ``tensor.register_hook`` was called; True where it is unknown."""
    return bool(getattr(tensor, "_backward_hooks", True))


# A custom function's node, of which _forward_cls is the Function.
_custom_node = _find("autograd.function.BackwardCFunction")
# What module.register_full_backward_hook puts into the graph.
_module_hook = _find("nn.modules._functions.BackwardHookFunction")


def function_of(node: Node) -> type | None:
    """The ``torch.autograd.Function`` that a node belongs to; None for PyTorch's own nodes."""
    if _custom_node is None or not isinstance(node, _custom_node):
        return None
    return getattr(node, "_forward_cls", None)


def is_module_hook(function: type | None) -> bool:
    """Whether a custom function is PyTorch's own, there to call a module's hooks."""
    return function is not None and function is _module_hook


#: Whether all is there that one must know of a graph to cut it.
CAN_CUT = None not in (ACCUMULATE_GRAD, _custom_node, _module_hook)


def is_complex(node: Any) -> bool:
    """Whether the output of a node is complex; True where that cannot be told."""
    metadata = getattr(node, "_input_metadata", None)
    return True if metadata is None else metadata[0].dtype.is_complex


# Whether the engine will run a node in this backward pass: the gradients of weights are computed
# only where they are asked for.
_will_execute = _find("_C._will_engine_execute_node")


def will_run(node: Any) -> bool:
    """Whether a node runs in the backward pass that is under way; True where it is unknown."""
    if _will_execute is None:
        return True
    try:
        return _will_execute(node)
    except RuntimeError:  # raised for a leaf whose gradient autograd.grad was asked for
        return True


def is_asked_for(leaf: Any) -> bool:
    """Whether ``torch.autograd.grad`` was asked for the gradient of a leaf, given its node, in the
    backward pass that is under way; True where it is unknown."""
    if _will_execute is None:
        return True
    try:
        _will_execute(leaf)
    except RuntimeError:
        return True
    return False


def inputs_of(node: Any) -> int | None:
    """How many gradients a node takes; None where that cannot be told."""
    metadata = getattr(node, "_input_metadata", None)
    return None if metadata is None else len(metadata)


def output_shapes(node: Any) -> list[Sequence[int]] | None:
    """The shapes of what the function of a node returned; None where that cannot be told."""
    metadata = getattr(node, "_input_metadata", None)
    return None if metadata is None else [each.shape for each in metadata]


# What torch.compile leaves on a function, on a module that it wraps, and on one that it compiles in
# place.
_COMPILED = ("_torchdynamo_orig_callable", "_orig_mod", "_compiled_call_impl")


def is_compiled(critic: Any) -> bool:
    """Whether a function or a module was compiled by ``torch.compile``; False where unknown."""
    return any(getattr(critic, name, None) is not None for name in _COMPILED)


# torch.compiler.disable, which would import the whole compiler, does the same as these: a function
# that does so when it is called first, and the marks by which Dynamo knows it.
_disable_dynamo = _find("_compile._disable_dynamo")


def left_to_eager_mode(function: Callable[..., Any], why: str) -> Callable[..., Any]:
    """The function, before which ``torch.compile`` ends its graph, and tells why if it must not."""
    if _disable_dynamo is None:
        return torch.compiler.disable(function, reason=why)
    left: Any = _disable_dynamo(function)
    left._torchdynamo_disable, left._torchdynamo_disable_msg = True, why
    return left


# Before 2.13, Dynamo takes torch.compiler.is_exporting() for true in whatever it compiles; and its
# setting to record gradients is there, but it stops at what a penalty does.
_DYNAMO_TELLS = torch.__version__ >= "2.13"


def is_exporting() -> bool:
    """Whether ``torch.export`` records this call; False where Dynamo cannot tell, which compiles it
    for export or for good."""
    if not torch.compiler.is_exporting():
        return False
    return _DYNAMO_TELLS or not torch.compiler.is_dynamo_compiling()


def dynamo_differentiates() -> bool:
    """Whether Dynamo, which is tracing this, records ``torch.autograd.grad`` as well: a setting,
    from PyTorch 2.13 on."""
    setting = getattr(torch._dynamo.config, "trace_autograd_ops", False)
    return _DYNAMO_TELLS and setting


def in_compiled_backward() -> bool:
    """Whether this is a hook in a backward pass that compiled autograd compiles, or has compiled.

    It records what the engine got, zeros among it, and lets no hook give None in their place.
    """
    if torch.compiler.is_compiling():
        return True
    compiled_autograd = sys.modules.get("torch._dynamo.compiled_autograd")  # nobody's until it is
    return getattr(compiled_autograd, "in_compiled_autograd_region", False)


# Transforms of torch.func wrap tensors: their graphs cannot be cut, their tensors not replaced.
_transforms_active = _find("_C._are_functorch_transforms_active")


def _unknown() -> bool:
    return True


#: Whether this runs inside a transform of ``torch.func``, or a vectorised backward pass.
transforms_active: Callable[[], bool] = _transforms_active or _unknown


# A vectorised backward pass (is_grads_batched) hides a dimension of the gradients, and not all of
# PyTorch's functions know how to go about that.
_IS_BATCHED = [
    _find("_C._functorch.is_batchedtensor"),
    _find("_C._functorch.is_legacy_batchedtensor"),
]


def is_batched(tensor: Tensor) -> bool:
    """Whether a tensor stands for a batch of such tensors; True where that cannot be told."""
    return any(
        is_of_this_kind is None or is_of_this_kind(tensor) for is_of_this_kind in _IS_BATCHED
    )


# What stands for an ordinary tensor while a program is traced.
_FAKE = _find("_subclasses.fake_tensor.FakeTensor")
_FUNCTIONAL = _find("_subclasses.functional_tensor.FunctionalTensor")
_ORDINARY = (Tensor, torch.nn.Parameter, _FAKE, _FUNCTIONAL)


def are_ordinary(*values: Any) -> bool:
    """Whether the tensors among some values lie in memory, or will when what is traced is run.

    Not so those of other types, such as ``DTensor``, and those that a transform wraps.
    """
    for value in values:
        if type(value) not in _ORDINARY and isinstance(value, Tensor):
            return False
    return not transforms_active()


# Tracers record calls, to be repeated with other values: what they are called with has none, or
# values that must not be looked at. Both kinds can be in use at once.
_proxy_mode = _find("fx.experimental.proxy_tensor.get_proxy_mode")


def is_recorded_by_proxies() -> bool:
    """Whether ``make_fx``, or what is built on it, records this call; False where it is unknown."""
    return _proxy_mode is not None and _proxy_mode() is not None


def is_fake(tensor: Tensor) -> bool:
    """Whether a tensor stands for one without its values; False where that cannot be told."""
    return _FAKE is not None and isinstance(tensor, _FAKE)


_forward_mode: Any = torch.autograd.forward_ad
_find("autograd.forward_ad._current_level")


def forward_mode_active() -> bool:
    """Whether a level of forward-mode differentiation is entered; True where it is unknown."""
    return getattr(_forward_mode, "_current_level", 0) >= 0


# Which tensor hooks there are is not public, but each gets a number: whether the critic puts a hook
# on a tensor of its own can be seen from the next one.
_find("utils.hooks.RemovableHandle.next_id")


def next_hook_number() -> int | None:
    """The number that the next hook gets; None where it is unknown."""
    return getattr(RemovableHandle, "next_id", None)


# All of attention's switches but this are public.
_OVERRIDEABLE = (
    _find("_C._get_overrideable_sdp_enabled"),
    _find("_C._set_sdp_use_overrideable"),
)


def overrideable_attention() -> tuple[Callable[[], bool], Callable[[bool], None]] | None:
    """Getter and setter of the switch of attention on devices that PyTorch itself does not know;
    None where there is none."""
    getter, setter = _OVERRIDEABLE
    return None if getter is None or setter is None else (getter, setter)


# A checkpoint computes its part of the critic again in the backward pass, and there is no public
# way to do so with the functions that were used the first time.
_top_hooks = _find("_C._autograd._top_saved_tensors_default_hooks")
_pop_hooks = _find("_C._autograd._pop_saved_tensors_default_hooks")
_push_hooks = _find("_C._autograd._push_saved_tensors_default_hooks")


def checkpoint_frames() -> Iterator[Any]:
    """What ``torch.utils.checkpoint`` knows of the parts that are being run, innermost first.

    Each has ``recompute_fn``, which computes that part again.
    """
    if _top_hooks is None or _top_hooks(False) is None:
        return
    taken: list[tuple[Callable[..., Any], Callable[..., Any]]] = []
    try:
        while (hooks := _top_hooks(False)) is not None:
            frame = _closed_over(hooks[0]).get("frame")
            if hasattr(frame, "recompute_fn"):
                yield frame
            if _pop_hooks is None or _push_hooks is None:
                return
            _pop_hooks()
            taken.append(hooks)
    finally:
        if _push_hooks is not None:
            for pack, unpack in reversed(taken):
                _push_hooks(pack, unpack)


def _closed_over(function: Any) -> dict[str, Any]:
    return dict(inspect.getclosurevars(function).nonlocals) if inspect.isfunction(function) else {}


# What a node keeps for its backward pass, to be computed again instead.
def saved_tensors(node: Any) -> Sequence[Any]:
    """The saved tensors of a custom function's node, as they are kept; empty where unknown."""
    return getattr(node, "_raw_saved_tensors", ())


# An operator called from its own autograd implementation must not come back to it.
#: Makes a context in which an operator is called without recording it for differentiation. None
#: where there is no such thing: then the reference has to do.
below_autograd: Callable[[], AbstractContextManager[Any]] | None = _find(
    "_C._AutoDispatchBelowAutograd"
)


# Whether the compiled library has registered a kernel.
_has_kernel = _find("_C._dispatch_has_kernel_for_dispatch_key")


def has_kernel(op: str, key: str) -> bool:
    """Whether an operator has a kernel of its own for this kind of device; False where unknown."""
    return False if _has_kernel is None else _has_kernel(op, key)


# Arguments of the critic may be nested.
_tree_map_only = _find("utils._pytree.tree_map_only")


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """The same nested tuples, lists and dicts, with every tensor mapped."""
    if _tree_map_only is not None:
        return _tree_map_only(Tensor, function, tree)
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)(map_tensors(function, value) for value in tree)
    return tree


# The arguments and results of a captured function may be nested.
_tree_flatten = _find("utils._pytree.tree_flatten")
_tree_unflatten = _find("utils._pytree.tree_unflatten")


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """What is in nested tuples, lists and dicts, in order, and the structure, to be compared."""
    if _tree_flatten is not None and _tree_unflatten is not None:
        return _tree_flatten(tree)
    leaves: list[Any] = []
    return leaves, _flattened(tree, leaves)


def unflatten(leaves: list[Any], structure: Any) -> Any:
    """What :func:`flatten` was given, with other leaves."""
    if _tree_flatten is not None and _tree_unflatten is not None:
        return _tree_unflatten(leaves, structure)
    return _unflattened(iter(leaves), structure)


def _flattened(tree: Any, leaves: list[Any]) -> Any:
    if isinstance(tree, dict):
        return type(tree), list(tree), [_flattened(each, leaves) for each in tree.values()]
    if isinstance(tree, tuple | list):
        return type(tree), None, [_flattened(each, leaves) for each in tree]
    leaves.append(tree)
    return None


def _unflattened(leaves: Iterator[Any], structure: Any) -> Any:
    if structure is None:
        return next(leaves)
    kind, keys, parts = structure
    values = [_unflattened(leaves, part) for part in parts]
    if keys is not None:
        return kind(zip(keys, values, strict=True))
    return kind(*values) if hasattr(kind, "_fields") else kind(values)


#: A mode that sees every call of an operator, below autograd; None where there is none.
DispatchMode = _find("utils._python_dispatch.TorchDispatchMode")

# PyTorch gives the threads in which a device's part of a backward pass runs the modes of the thread
# that began the pass.
_mode_stack = _find("utils._python_dispatch._get_current_dispatch_mode_stack")


def active_modes() -> list[Any]:
    """The dispatch modes that are on in this thread; none where that cannot be told."""
    return [] if _mode_stack is None else _mode_stack()


def written_arguments(op: Any) -> list[tuple[int, str]]:
    """Position and name of the arguments that an operator writes to."""
    schema = getattr(op, "_schema", None)
    if schema is None:
        return [(0, "self")] if str(op).split(".")[-2].endswith("_") else []
    return [
        (index, argument.name)
        for index, argument in enumerate(schema.arguments)
        if (argument.alias_info is not None and argument.alias_info.is_write)
        or (argument.name in _RUNNING and "backward" not in schema.name)
    ]


#: What batch normalisation writes to, although its schema does not say so.
_RUNNING = ("running_mean", "running_var")


# Which backward pass is under way. Passes on a device run in threads of the device.
_current_pass = _find("_C._current_graph_task_id") or threading.get_ident


@contextlib.contextmanager
def without_hooks(tensors: Iterable[Tensor], loss: Tensor) -> Iterator[None]:
    """A context in which hooks that ``Tensor.register_hook`` put on some leaves are not called in
    the backward pass that begins at a loss; in other passes, of other threads, they are."""
    ours: set[int] = set()

    def silent(hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        return lambda gradient: None if _current_pass() in ours else hook(gradient)

    found = [getattr(tensor, "_backward_hooks", None) for tensor in tensors]
    replaced = [(hooks, dict(hooks)) for hooks in found if hooks]
    if not replaced or loss.grad_fn is None:
        yield
        return
    note = loss.grad_fn.register_prehook(lambda _: ours.add(_current_pass()))
    for hooks, before in replaced:
        hooks.update({key: silent(hook) for key, hook in before.items()})
    try:
        yield
    finally:
        for hooks, before in replaced:  # some may have been removed in the meantime
            hooks.update({key: hook for key, hook in before.items() if key in hooks})
        note.remove()


#: Where the generated functions lie that ``torch`` and ``Tensor`` do not have.
NN_FUNCTIONS = _find("_C._nn")


# A graph compiled once, without the checks that torch.compile makes at every call.
def compile_graph(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
    """An ``fx`` graph, compiled by Inductor; it draws as PyTorch does without a compiler."""
    options: Any = {"fallback_random": True}
    try:  # found when it is needed: loading it takes seconds
        import torch._inductor as inductor
    except ImportError:
        inductor = None
    _standalone_compile = getattr(inductor, "standalone_compile", None)
    if _standalone_compile is None:
        return torch.compile(graph, dynamic=False, fullgraph=True, options=options)
    return _standalone_compile(
        graph,
        inputs,
        dynamic_shapes="from_example_inputs",
        options={"config_patches": options},
    )


# Many tensors times one number in a single call.
_foreach_mul = _find("_foreach_mul")


def multiplied(tensors: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    """Each tensor times a scalar tensor, in its own dtype and on its own device."""
    alike = all(t.dtype == factor.dtype and t.device == factor.device for t in tensors)
    if alike and _foreach_mul is not None and all(t.layout is torch.strided for t in tensors):
        return list(_foreach_mul(tensors, factor))
    return [factor.to(t.device, t.dtype) * t for t in tensors]
