"""The command line of train.py, and the networks that its options shape."""

import pytest
import torch
from gan import models
from gan.data import POINT_SETS
from gan.methods import LOSSES, METHODS
from gan.options import build_parser, default_name, settings_of


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data dogs", "must be digits, mnist, cifar10, gaussians8"),
        ("--data folder:", "or folder:PATH, but it is folder:"),
        ("--size 12", "must be a power of two from 8 on"),
        ("--size 4", "must be a power of two from 8 on"),
        ("--steps 0", "must be a whole number from 1 on"),
        ("--batch-size many", "must be a whole number from 1 on"),
        ("--lambda-gp -1", "must be a number from 0 on"),
        ("--learning-rate nan", "must be a number from 0 on"),
        ("--ema 1", "must be a number from 0 to below 1"),
        ("--seed -1", "must be a whole number from 0"),
        ("--device tpu9", "cannot be used here"),
        ("--name a/b", "must be the name of a folder"),
        ("--name x --resume y", "not allowed with"),
        ("--method wgan-qp", "wgan-qp"),
        ("--loss square", "square"),
    ],
)
def test_a_bad_option_is_explained(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        build_parser().parse_args(arguments.split())
    assert exit.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "swissroll", "--size", "16"), "--size and --channels are for images"),
        (("--data", "digits", "--channels", "3"), "--channels is for folders"),
        (
            ("--method", "gan", "--lambda-gp", "3"),
            "for methods with a penalty, but --method is gan",
        ),
        (
            ("--method", "gan", "--loss", "wasserstein"),
            "--loss wasserstein does not fit --method gan: nothing bounds its critic",
        ),
        (
            ("--method", "wgan-div", "--loss", "hinge"),
            "--loss hinge does not fit --method wgan-div: its own, wasserstein, is what defines it",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, message, train):
    status, _, error = train(*arguments)
    assert status == 2
    assert message in error


def test_help_names_every_data_set():
    text = build_parser().format_help()
    for word in ("digits", "mnist", "cifar10", "gaussians8", "gaussians25", "swissroll", "folder:"):
        assert word in text


def test_help_lists_every_method_whole():
    text = build_parser().format_help()
    start = text.index("wgan-gp (the default), ")
    words = text[start : text.index("gan/methods.py")].replace(",", " ").replace(":", " ").split()
    assert [word for word in words if word in METHODS] == list(METHODS)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(("option", "known"), [("--method", METHODS), ("--loss", LOSSES)])
def test_an_unknown_name_is_answered_with_the_known_ones(option, known, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args([option, "wgan-qp"])
    error = capsys.readouterr().err.replace("'", "").replace(")", ",")
    for name in known:
        assert f" {name}," in error


@pytest.mark.parametrize("name", METHODS)
def test_a_method_brings_its_defaults(name):
    method = METHODS[name]
    settings = settings_of({"method": name})
    assert (settings.method, settings.loss) == (name, method.loss)
    assert settings.n_critic == method.n_critic
    assert settings.learning_rate == method.learning_rate
    assert settings.lambda_gp == method.weight
    for data in POINT_SETS:
        assert settings_of({"method": name, "data": data}).lambda_gp == method.weight / 100
    given = {"n_critic": 3, "learning_rate": 0.5} | ({"lambda_gp": 0.25} if method.weight else {})
    for data in ("digits", "swissroll"):
        settings = settings_of({"method": name, "data": data} | given)
        assert {key: getattr(settings, key) for key in given} == given


def test_without_a_method_it_is_wgan_gp():
    assert settings_of({}) == settings_of({"method": "wgan-gp"})
    settings = settings_of({})
    assert (settings.n_critic, settings.learning_rate, settings.lambda_gp) == (5, 1e-4, 10)
    assert settings_of({"data": "swissroll"}).lambda_gp == 0.1


def test_a_run_is_named_after_its_data_its_method_and_its_loss():
    assert default_name(settings_of({"data": "folder:/some/where"})) == "folder"
    assert default_name(settings_of({"method": "r1"})) == "digits-r1"
    assert default_name(settings_of({"method": "r1", "loss": "gan"})) == "digits-r1"
    assert default_name(settings_of({"method": "r1", "loss": "hinge"})) == "digits-r1-hinge"
    assert default_name(settings_of({"loss": "hinge"})) == "digits-hinge"


def test_what_is_given_goes_before_the_preset():
    given = vars(build_parser().parse_args(["--lambda-gp", "3", "--quick"]))
    settings = settings_of(given)
    assert (settings.lambda_gp, settings.size, settings.steps) == (3.0, 16, 20)
    assert settings_of(given | {"steps": 7}).steps == 7


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("normalised", [True, False])
def test_networks_become_deeper_with_the_image(size, channels, normalised):
    critic, generator = models.networks((channels, size, size), width=2, normalised=normalised)
    convolutions = [layer for layer in critic if isinstance(layer, torch.nn.Conv2d)]
    assert 4 * 2 ** len(convolutions) == size
    images = generator(torch.randn(3, models.LATENT))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert critic(images).shape == (3, 1)


@pytest.mark.parametrize("size", [8, 16])
def test_residual_networks_become_deeper_with_the_image(size):
    critic, generator = models.residual_networks((3, size, size), width=4)
    images = generator(torch.randn(5, models.LATENT))
    assert images.shape == (5, 3, size, size)
    assert images.abs().max() <= 1
    scores = critic(images)
    assert scores.shape == (5, 1)
    torch.testing.assert_close(scores[:1], critic(images[:1]))  # each sample by itself
    blocks = [sum(isinstance(x, models.Residual) for x in net) for net in (critic, generator)]
    assert blocks == ([2, 1] if size == 8 else [3, 2])


@pytest.mark.parametrize("resize", [None, torch.nn.AvgPool2d(2), torch.nn.Upsample(scale_factor=2)])
def test_a_residual_block_adds_its_change_to_what_it_gets(resize):
    block = models.Residual(3, resize, normalised=True)
    x = torch.randn(2, 3, 4, 4)
    resized = x if resize is None else resize(x)
    change = block(x) - resized
    assert change.abs().max() > 0
    torch.nn.init.zeros_(block.change[-2].weight)
    block.change[-2].bias.data.fill_(0.5)
    torch.testing.assert_close(block(x), resized + 0.5)
