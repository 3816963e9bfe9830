"""path_length_penalty and its moving average, PathLength."""

import contextlib
import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.flops import flops_of
from tests.comparing import assert_close, assert_same_gradients, gradients_of
from tests.textbook_family import textbook_path_lengths
from wgan_fast import PathLength, efficient_double_backward, path_length_penalty

LATENT, WIDTH, LAYERS = 5, 6, 2


class Synthesis(nn.Module):
    """As in StyleGAN2: a constant, convolved with weights that the latents scale, normalised."""

    def __init__(self):
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, WIDTH, 4, 4))
        self.weights = nn.ParameterList(torch.randn(WIDTH, WIDTH, 3, 3) for _ in range(LAYERS))
        self.biases = nn.ParameterList(torch.randn(WIDTH) for _ in range(LAYERS))
        self.styles = nn.ModuleList(nn.Linear(LATENT, WIDTH) for _ in range(LAYERS))
        self.to_rgb = nn.Conv2d(WIDTH, 3, 1)

    def forward(self, latents):
        """``[B, LATENT]`` or ``[B, LAYERS, LATENT]`` to ``[B, 3, 4, 4]``."""
        x = self.constant.expand(len(latents), -1, -1, -1)
        for layer in range(LAYERS):
            style = self.styles[layer](latents[:, layer] if latents.dim() == 3 else latents)
            x = F.conv2d(x * style[:, :, None, None], self.weights[layer], padding=1)
            scaled = self.weights[layer] * style[:, None, :, None, None]
            x = x * scaled.square().sum((2, 3, 4)).rsqrt()[:, :, None, None]
            x = F.leaky_relu(x + self.biases[layer][:, None, None], 0.2)
        return self.to_rgb(x)


class Generator(nn.Module):
    """A mapping network before the synthesis, which the penalty trains, too."""

    def __init__(self, by_layer):
        super().__init__()
        self.by_layer = by_layer
        self.mapping = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.Linear(8, LATENT))
        self.synthesis = Synthesis()

    def forward(self, z):
        latents = self.mapping(z)
        if self.by_layer:
            latents = latents[:, None].repeat(1, LAYERS, 1)
        return self.synthesis(latents), latents


def noise_for(images, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images.shape, generator=generator, dtype=images.dtype)


def linear(batch=4, dtype=torch.float32):
    """Images that are linear in the latents: ``(images, latents)``."""
    latents = torch.randn(batch, LATENT, dtype=dtype, requires_grad=True)
    return (latents @ torch.randn(LATENT, 12, dtype=dtype)).reshape(batch, 3, 2, 2), latents


@pytest.mark.parametrize("double_backward", ["pruned", "plain"])
@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("efficiently", [False, True])
def test_against_the_textbook(by_layer, double_backward, efficiently):
    module = Generator(by_layer).double()
    z, noise = torch.randn(7, 3).double(), torch.randn(7, 3, 4, 4).double()
    theirs_lengths = textbook_path_lengths(*module(z), noise=noise)
    theirs = 3 * ((theirs_lengths - 0.7) ** 2).mean()
    with efficient_double_backward() if efficiently else contextlib.nullcontext():
        images, latents = module(z)
    ours, lengths = path_length_penalty(
        images, latents, target=0.7, weight=3.0, noise=noise, double_backward=double_backward,
        return_lengths=True,
    )  # fmt: skip
    assert theirs > 0
    assert_close(ours, theirs)
    assert_close(lengths, theirs_lengths.detach())
    assert not lengths.requires_grad
    assert_same_gradients(gradients_of(ours, module), gradients_of(theirs, module))


@pytest.mark.parametrize("by_layer", [False, True])
def test_the_average_is_that_of_the_authors_code(by_layer):
    """Updated first, and differentiated."""
    module, path_length = Generator(by_layer).double(), PathLength(decay=0.3).double()
    mean = torch.zeros((), dtype=torch.float64)
    for _ in range(4):
        z, noise = torch.randn(7, 3).double(), torch.randn(7, 3, 4, 4).double()
        lengths = textbook_path_lengths(*module(z), noise=noise)
        updated = mean + 0.3 * (lengths.mean() - mean)
        theirs = 2 * ((lengths - updated) ** 2).mean()
        mean = updated.detach()
        ours, found = path_length(*module(z), noise=noise, return_lengths=True)
        assert_close(ours, theirs)
        assert_close(found, lengths)
        assert_close(path_length.mean, mean)
        assert not path_length.mean.requires_grad
        assert_same_gradients(gradients_of(ours, module), gradients_of(theirs, module))


def mlp(activation):
    return nn.Sequential(*[nn.Linear(64, 64), activation] * 6, nn.Linear(64, 192))


@pytest.mark.parametrize(
    ("synthesis", "pruned", "plain"),
    [(mlp(nn.LeakyReLU()), 11 / 3, 5), (mlp(nn.SiLU()), 5, 5), (Synthesis(), 6, 6)],
    ids=["linear piece by piece", "smooth", "latents that scale features"],
)
def test_passes_of_the_double_backward(synthesis, pruned, plain):
    """Zero paths are left out; in StyleGAN2 they carry the gradients of the scaling, too."""
    width = LATENT if isinstance(synthesis, Synthesis) else 64
    latents = torch.randn(16, width, requires_grad=True)

    def step(double_backward):
        images = synthesis(latents).reshape(16, 3, 8, -1)
        path_length_penalty(images, latents, target=1.0, double_backward=double_backward).backward()

    forward = flops_of(lambda: synthesis(latents))
    assert flops_of(lambda: step("pruned")) / forward == pytest.approx(pruned, abs=0.1)
    assert flops_of(lambda: step("plain")) / forward == pytest.approx(plain, abs=0.1)


def test_the_length_of_linear_images():
    """Of ``images = A w``, the mean of the squared length is ``|A|^2 / pixels``."""
    matrix = torch.randn(12, LATENT, dtype=torch.float64)
    latents = torch.randn(20_000, LATENT, dtype=torch.float64, requires_grad=True)
    images = (latents @ matrix.T).reshape(-1, 3, 2, 2)
    _, lengths = path_length_penalty(images, latents, target=0.0, return_lengths=True)
    expected = matrix.square().sum() / 4
    # Squares scatter by about as much as they are large: 1 / sqrt(20,000) is 0.7 %, times four.
    assert lengths.square().mean().item() == pytest.approx(expected.item(), rel=0.03)


@pytest.mark.parametrize(("shape", "pixels"), [((3,), 1), ((3, 4), 4), ((3, 2, 2, 2), 8)])
def test_pixels_are_what_comes_after_the_channels(shape, pixels):
    latents = torch.randn(4, LATENT, dtype=torch.float64, requires_grad=True)
    matrix = torch.randn(LATENT, 3 * pixels, dtype=torch.float64)
    images = (latents @ matrix).reshape(4, *shape)
    noise = noise_for(images)
    _, lengths = path_length_penalty(images, latents, target=0.0, noise=noise, return_lengths=True)
    assert_close(lengths, (noise.flatten(1) @ matrix.T).norm(dim=1) / pixels**0.5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype):
    images, latents = linear(dtype=dtype)
    path_length = PathLength()
    result = torch.float64 if dtype == torch.float64 else torch.float32
    for penalty, lengths in (
        path_length_penalty(images, latents, target=1.0, return_lengths=True),
        path_length(images, latents, return_lengths=True),
    ):
        assert penalty.dtype == lengths.dtype == result
        assert (penalty.shape, lengths.shape) == ((), (4,))
    assert path_length.mean.dtype == torch.float32
    assert path_length.mean > 0


def test_lengths_of_half_precision_do_not_overflow():
    """Squares of 1000 do in float16."""
    latents = torch.ones(1, 4, dtype=torch.float16, requires_grad=True)
    noise = torch.full((1, 4), 1000.0, dtype=torch.float16)
    penalty = path_length_penalty(latents * 1, latents, target=2000.0, noise=noise)
    assert penalty == 0


def test_latents_may_be_more_precise_than_images():
    latents = torch.randn(4, LATENT, requires_grad=True)
    weight = torch.randn(LATENT, 12, requires_grad=True)
    images = (latents @ weight).half().reshape(4, 3, 2, 2)
    path_length_penalty(images, latents, target=1.0).backward()
    assert weight.grad.any()


def test_a_length_of_zero_has_the_gradient_zero():
    weight = torch.ones(LATENT, 12, requires_grad=True)
    latents = torch.randn(4, LATENT, requires_grad=True)
    images = (latents @ (0 * weight)).reshape(4, 3, 2, 2)
    penalty = path_length_penalty(images, latents, target=1.0, weight=3.0)
    penalty.backward()
    assert penalty == 3
    assert not weight.grad.any()


def test_the_draw_follows_the_generator():
    images, latents = linear()
    values = [
        path_length_penalty(
            images, latents, target=1.0, generator=torch.Generator().manual_seed(seed)
        ).item()
        for seed in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]
    noise = noise_for(images, seed=1)
    assert path_length_penalty(images, latents, target=1.0, noise=noise).item() == values[0]
    torch.manual_seed(1)
    assert path_length_penalty(images, latents, target=1.0).item() == values[0]


def test_the_images_can_be_used_further():
    module = Generator(by_layer=True)
    images, latents = module(torch.randn(4, 3))
    loss = path_length_penalty(images, latents, target=1.0) + images.mean()
    loss.backward()
    assert all(p.grad is not None for p in module.parameters())


def test_without_grad_the_value_has_no_graph():
    images, latents = linear()
    noise = noise_for(images)
    expected = path_length_penalty(images, latents, target=1.0, noise=noise)
    with torch.no_grad():
        value = path_length_penalty(images, latents, target=1.0, noise=noise)
    assert torch.equal(value, expected)
    assert not value.requires_grad
    images.sum().backward()  # the graph is still there


def test_state_dict_and_evaluation_mode():
    path_length = PathLength()
    path_length(*linear())
    mean = path_length.mean.clone()
    other = PathLength()
    other.load_state_dict(copy.deepcopy(path_length.state_dict()))
    assert other.mean == mean > 0
    other.eval()
    images, latents = linear()
    noise = noise_for(images)
    penalty = other(images, latents, noise=noise)
    assert other.mean == mean
    assert_close(
        penalty, path_length_penalty(images, latents, target=mean.item(), noise=noise), rtol=1e-6
    )
    assert str(PathLength(decay=0.1)) == "PathLength(weight=2, decay=0.1)"


def test_several_penalties_are_differentiated_together():
    path_length, weight = PathLength(), torch.randn(LATENT, 12, requires_grad=True)
    latents = torch.randn(4, LATENT, requires_grad=True)
    images = (latents @ weight).reshape(4, 3, 2, 2)
    sum(path_length(images, latents) for _ in range(3)).backward()
    assert weight.grad.any()


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_what_is_not_finite_does_not_change_the_average(bad):
    path_length = PathLength()
    path_length(*linear())
    mean = path_length.mean.clone()
    images, latents = linear()
    noise = torch.full_like(images, bad)
    assert not path_length(images, latents, noise=noise).isfinite()
    assert path_length.mean == mean


IMAGES, LATENTS = linear()


@pytest.mark.parametrize(
    ("images", "latents", "error", "message"),
    [
        (None, LATENTS, TypeError, "images must be a tensor [B, *], but it is None"),
        (IMAGES, [LATENTS], TypeError, "latents must be a tensor [B, *], but it is a list"),
        (IMAGES.long(), LATENTS, TypeError, "images must be float64, float32,"),
        (IMAGES[:3], LATENTS, ValueError, "latents must have a row for each of the 3 images, but"),
        (
            IMAGES,
            LATENTS[:, :, None, None],
            ValueError,
            "latents must be [B, w], or [B, layers, w] with one for each layer, but their shape is "
            "[4, 5, 1, 1]",
        ),
        (IMAGES, LATENTS.detach(), ValueError, "latents must require a gradient when"),
        (IMAGES.detach(), LATENTS, ValueError, "images must have been computed from latents with"),
        (IMAGES, LATENTS.clone(), ValueError, "images must have been computed from latents, but"),
    ],
)
def test_says_what_is_wrong_with_images_and_latents(images, latents, error, message):
    for call in (PathLength(), lambda *args: path_length_penalty(*args, target=1.0)):
        with pytest.raises(error, match=re.escape(message)):
            call(images, latents)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"target": None}, TypeError, "target must be a number, but it is None"),
        ({"target": -1.0}, ValueError, "target must be a finite number >= 0, but it is -1.0"),
        ({"weight": -1.0}, ValueError, "weight must be a finite number >= 0, but it is -1.0"),
        ({"generator": 3}, TypeError, "generator must be a torch.Generator, but it is 3"),
        ({"double_backward": "fast"}, ValueError, "double_backward must be one of 'pruned', 'pl"),
        ({"return_lengths": 1}, TypeError, "return_lengths must be True or False, but it is 1"),
        ({"noise": 3}, TypeError, "noise must be a tensor [B, *], but it is 3"),
        ({"noise": IMAGES[:2]}, ValueError, "noise must have the shape of images, [4, 3, 2, 2],"),
        ({"noise": IMAGES.double()}, TypeError, "noise must have the dtype of images, torch.flo"),
        (
            {"noise": IMAGES, "generator": torch.Generator()},
            ValueError,
            "generator must be None when noise is given",
        ),
    ],
)
def test_says_what_is_wrong_with_keywords(given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        path_length_penalty(IMAGES, LATENTS, **{"target": 1.0, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decay": 0.0}, "decay must be in (0, 1], but it is 0.0"),
        ({"decay": 1.5}, "decay must be in (0, 1], but it is 1.5"),
        ({"weight": -1.0}, "weight must be a finite number >= 0, but it is -1.0"),
        ({"double_backward": "fast"}, "double_backward must be one of 'pruned', 'plain'"),
    ],
)
def test_says_what_is_wrong_with_the_module(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PathLength(**given)


def test_inference_mode_is_refused():
    message = r"which torch.inference_mode\(\) rules out"
    with torch.inference_mode(), pytest.raises(RuntimeError, match=message):
        path_length_penalty(IMAGES, LATENTS, target=1.0)
