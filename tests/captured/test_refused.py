"""What cannot be captured raises an error that names the line, or runs eagerly with a warning."""

import random
import sys

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from tests.captured import training
from tests.captured.training import replayed, samples
from wgan_fast import (
    Lazy,
    Penalty,
    critic_loss,
    fast_gradient_penalty,
    r1_penalty,
)

WEIGHT = torch.tensor(2.0, requires_grad=True)


def item(x):
    return WEIGHT * x.sum().item()  # here


def branch(x):
    return WEIGHT * x.sum() if x.sum() > 0 else WEIGHT  # here


def numpy_values(x):
    return WEIGHT * float(np.sum(x.numpy()))  # here


def numpy_function(x):
    return WEIGHT * torch.as_tensor(np.asarray(x)).sum()  # here


def tolist(x):
    return WEIGHT * sum(x.tolist())  # here


def in_place(x):
    x += 1  # here
    return WEIGHT * x.sum()


def in_place_by_a_view(x):
    x[0].zero_()  # here
    return WEIGHT * x.sum()


def shape_by_values(x):
    return WEIGHT * x[x > 0].sum()  # here


def python_random(x):
    return WEIGHT * x.sum() * random.random()


def numpy_random(x):
    return WEIGHT * x.sum() * np.random.rand()


def backward(x):
    (WEIGHT * x.sum()).backward()  # here
    return WEIGHT * x.sum()


def data(x):
    y = torch.zeros(3)
    y.data = x * 2  # here
    return WEIGHT * y.sum()


def a_seed(x):
    torch.manual_seed(3)
    return WEIGHT * torch.rand(3).mul(x).sum()  # here


def a_generator_of_its_own(x):
    generator = torch.Generator().manual_seed(3)
    return WEIGHT * torch.rand(3, generator=generator).mul(x).sum()  # here


GENERATOR = torch.Generator()


def a_seed_of_a_generator(x):
    GENERATOR.manual_seed(3)
    return WEIGHT * torch.rand(3, generator=GENERATOR).mul(x).sum()  # here


def checkpoint_with_dropout(x):
    def block(x):
        return torch.nn.functional.dropout(x, 0.5).exp()

    y = torch.utils.checkpoint.checkpoint(block, WEIGHT * x, use_reentrant=False)
    return y.sum()


SPARSE = torch.eye(3).to_sparse()


def sparse_from_outside(x):
    return WEIGHT * torch.sparse.mm(SPARSE, x.unsqueeze(1) * torch.rand(())).sum()  # here


def a_bug_of_ones_own(x):
    if torch.is_grad_enabled() and sys.modules["wgan_fast._being_captured"].being_captured():
        raise KeyError("only while recording")  # here
    return WEIGHT * x.sum()


REFUSED = [
    (item, r"\.item\(\)"),
    (branch, "an if"),
    (numpy_values, "NumPy"),
    (numpy_function, "NumPy"),
    (tolist, "tolist"),
    (in_place, "changed in place"),
    (in_place_by_a_view, "changed in place"),
    (shape_by_values, "shape of what aten::index"),
    (python_random, "random numbers"),
    (numpy_random, "random numbers"),
    (backward, r"backward\(\) is called"),
    (data, r"\.data"),
    (a_seed, "set to another state"),
    (a_generator_of_its_own, "Generator is made in the function"),
    (a_seed_of_a_generator, "set to another state"),
    (checkpoint_with_dropout, "set to another state"),
    (sparse_from_outside, r"layout torch\.sparse_coo.*to_dense"),
    (a_bug_of_ones_own, "KeyError: 'only while recording'"),
]


@pytest.mark.parametrize(("function", "reason"), REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_it_raises_an_error_that_names_the_line(function, reason):
    with pytest.raises(RuntimeError, match=reason) as error:
        replayed(function)(torch.ones(3))
    message = str(error.value)
    assert "fallback=True" in message
    assert f"{__file__}:" in message
    if function not in (python_random, numpy_random, checkpoint_with_dropout):
        assert message.rstrip().endswith("# here")


@pytest.mark.parametrize(("function", "reason"), REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_or_it_runs_eagerly_with_one_warning(function, reason):
    loss = replayed(function, fallback=True)

    def step(function):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        WEIGHT.grad = None
        value = function(torch.ones(3))
        value.backward()
        return value.item(), WEIGHT.grad.item()

    with pytest.warns(UserWarning, match=reason) as warned:
        first = step(loss)
    assert len(warned) == 1
    assert {first, step(loss), step(loss)} == {step(function)}
    (graph,) = loss.report().graphs
    assert (graph.executor, graph.runs) == ("eager", 2)
    assert "eager" in str(loss.report())


def test_what_it_changed_before_it_failed_is_as_it_was():
    net = nn.BatchNorm1d(3)
    state = {name: value.clone() for name, value in net.state_dict().items()}

    def loss(x):
        return net(x + torch.rand(4, 3)).mean() * (2.0 if x.sum() > 0 else 1.0)

    eager = torch.manual_seed(0)
    x = torch.ones(4, 3)
    loss(x)
    after = [*map(torch.clone, net.state_dict().values()), eager.get_state()]
    net.load_state_dict(state)
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="an if"):
        replayed(loss)(x)
    for a, b in zip(after, [*net.state_dict().values(), eager.get_state()], strict=True):
        assert torch.equal(a, b)


def test_random_numbers_of_python_go_on_as_after_one_call():
    random.seed(1)
    python_random(torch.ones(3))
    expected = random.random()
    random.seed(1)
    with pytest.warns(UserWarning, match="random numbers"):
        replayed(python_random, fallback=True)(torch.ones(3))
    assert random.random() == expected


def test_a_counter_of_a_module():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.net = 0, nn.Linear(3, 1)

        def forward(self, x):
            self.calls += 1
            return self.net(x) / self.calls

    critic = Counting()
    with pytest.raises(RuntimeError, match=r"calls changes from 1 to 2.*in a tensor"):
        replayed(lambda x: critic(x).sum())(torch.ones(2, 3))
    assert critic.calls == 1


def test_a_graph_from_outside():
    encoder, x = nn.Linear(3, 3), torch.ones(2, 3)
    code = encoder(x)
    with pytest.raises(RuntimeError, match=r"computed outside.*pass it as an argument"):
        replayed(lambda x: (code * x).sum())(x)


@pytest.mark.parametrize("penalty", ["Lazy", "Penalty"])
def test_penalties_that_count_steps(penalty):
    critic, (real, fake) = training.mlp().double(), samples((8, 5))
    lazily, r1 = Lazy(every=4), Penalty(1.0, every=4)
    losses = {
        "Lazy": lambda real, fake: lazily(r1_penalty, critic, real),
        "Penalty": lambda real, fake: critic_loss(critic, real, fake, r1=r1),
    }
    with pytest.raises(RuntimeError, match=r"every=4 is due at some steps only.*count outside"):
        replayed(losses[penalty])(real, fake)


@pytest.mark.parametrize("critic", ["mlp", "spectral_norm"])
@pytest.mark.parametrize("keywords", [{"chunk_size": 2}, {"double_backward": "finite_difference"}])
def test_penalties_that_set_back_a_critics_state(critic, keywords):
    """Where there is none, they can be captured."""
    torch.manual_seed(0)
    critic = training.CRITICS[critic][0]().double()
    critic(samples((8, 5))[0])
    loss = replayed(lambda r, f: fast_gradient_penalty(critic, r, f, **keywords))
    if any(True for _ in critic.buffers()):
        with pytest.raises(RuntimeError, match=r"looked at[^$]*test_refused\.py"):
            loss(*samples((8, 5)))
        return
    values = []
    for fn in (loss, loss, loss.eager):
        torch.manual_seed(1)
        critic.zero_grad()
        value = fn(*samples((8, 5)))
        value.backward()
        gradients = [p.grad for p in critic.parameters() if p.grad is not None]
        values.append([value.detach(), *(gradient.clone() for gradient in gradients)])
    training.assert_equal(values[1], values[2])


def test_finite_differences_of_a_critic_with_dropout():
    critic = training.mlp(nn.Dropout(0.5)).double()
    loss = replayed(
        lambda r, f: fast_gradient_penalty(critic, r, f, double_backward="finite_difference")
    )
    with pytest.raises(RuntimeError, match="set to another state"):
        loss(*samples((8, 5)))


@pytest.mark.parametrize(
    ("returned", "error", "match"),
    [
        (lambda x: None, TypeError, "must return a scalar tensor.*None"),
        (lambda x: x.long().sum(), TypeError, "must return a scalar"),
        (lambda x: x, ValueError, "take its mean"),
        (lambda x: (WEIGHT * x.sum(), WEIGHT * x), ValueError, r"detach the tensor of shape \[3\]"),
    ],
)
def test_what_must_be_returned(returned, error, match):
    with pytest.raises(error, match=match):
        replayed(returned)(torch.ones(3))


def test_arguments_must_be_plain_dense_tensors():
    class Odd(torch.Tensor):
        pass

    with pytest.raises(TypeError, match="plain tensor, but it is a Odd"):
        replayed(lambda x: x.sum())(torch.ones(3).as_subclass(Odd))


NOT_DENSE = {
    "sparse_coo": torch.Tensor.to_sparse,
    "sparse_csr": torch.Tensor.to_sparse_csr,
    "mkldnn": torch.Tensor.to_mkldnn,
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("layout", NOT_DENSE)
def test_the_layout_of_an_argument_is_told(layout):
    loss, y = replayed(lambda x, y: x.sum() + y.sum()), NOT_DENSE[layout](torch.eye(3))
    with pytest.raises(TypeError, match=rf"argument 1 .* dense .*{layout}; pass its \.to_dense"):
        loss(torch.ones(3), y)
    assert loss(torch.ones(3), y.to_dense()) == 6


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
def test_a_nested_argument_is_refused():
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    with pytest.raises(TypeError, match=r"argument 0 .* dense .* nested one; pass its parts"):
        replayed(lambda x: x.sum())(nested)


def test_it_tells_the_way_out_where_less_is_called():
    numbers = iter([3, 2, 1])
    with pytest.raises(RuntimeError, match="calls less of PyTorch") as error:
        replayed(lambda x: sum(x.sum() for _ in range(next(numbers))))(torch.ones(3))
    assert "fallback=True" in str(error.value)
    assert f"{__file__}:" in str(error.value)
