"""docs/migration.md: every call on it is run, and compared with the formula of the implementation.

A client below is what an implementation computes, shortened, with its own names. The call is read
off the page and evaluated with these names and the same draws.
"""

import functools
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

import wgan_fast
from tests.comparing import assert_close, assert_same_gradients, gradients_of

PAGE = Path(__file__).parents[1] / "docs" / "migration.md"
B, C, H, W = 6, 3, 4, 5


def calls():
    """``{implementation: call}``, from all tables of the page."""
    found, last = {}, ""
    for row in re.findall(r"^\| (.+) \|$", PAGE.read_text(), flags=re.MULTILINE):
        name, _, here = row.split(" | ")
        if here != "here":
            last = name.replace("the same", last.partition(",")[0])
            assert last not in found
            found[last] = re.search(r"`(.+?)`", here)[1]
    return found


CALLS, CLIENTS = calls(), {}


def client(*names):
    """Registers a function ``(what is set up) -> penalty``, which adds the names of its own."""

    def register(function):
        CLIENTS.update(dict.fromkeys(names, function))
        return function

    return register


class Critic(nn.Module):
    """Scores of images or rows, with labels or without. Smooth: points count, not only signs."""

    def __init__(self, size=C * H * W):
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.SiLU())
        self.classes, self.score = nn.Embedding(3, 8), nn.Linear(8, 1)

    def forward(self, x, y=None):
        features = self.features(x)
        return self.score(features if y is None else features * self.classes(y))


def setting():
    """A critic, samples ``[B, C, H, W]``, labels and mixing factors, the same ones every time."""
    torch.manual_seed(0)
    real, fake = torch.randn(2, B, C, H, W, dtype=torch.float64)
    epsilon = torch.rand(B, dtype=torch.float64)
    return SimpleNamespace(
        critic=Critic().double(), real=real, fake=fake, epsilon=epsilon, y=torch.arange(B) % 3
    )


def run(name):
    """``(what is set up, the client's penalty)``; the client draws under a seed."""
    names = setting()
    torch.manual_seed(1)
    return names, CLIENTS[name](names)


@pytest.mark.parametrize("name", CALLS)
def test_the_call_computes_what_the_implementation_does(name):
    theirs, expected = run(name)
    ours, _ = run(name)
    library = {each: getattr(wgan_fast, each) for each in wgan_fast.__all__}
    given = functools.partial(wgan_fast.fast_gradient_penalty, epsilon=ours.epsilon)
    names = {**library, **vars(ours), "torch": torch, "B": B, "H": H, "W": W}
    torch.manual_seed(1)
    penalty = eval(CALLS[name], {**names, "fast_gradient_penalty": given})
    assert_close(penalty, expected)
    assert_same_gradients(gradients_of(penalty, ours.critic), gradients_of(expected, theirs.critic))


def test_every_call_has_a_client_and_every_client_a_call():
    assert set(CLIENTS) == set(CALLS)


# Interpolates.


def gradient(scores, points):
    """Of each score with respect to its sample, ``[B, *]``."""
    return torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)[0]


def norms(scores, points):
    return gradient(scores, points).flatten(1).norm(2, dim=1)


def mixed(first, second, factor):
    """Points that require a gradient; one factor for each sample, that of ``first``."""
    factor = factor.reshape([-1] + [1] * (first.dim() - 1))
    return (factor * first + (1 - factor) * second).detach().requires_grad_()


def wgan_gp(n, critic, first, second, center=1.0):
    points = mixed(first, second, n.epsilon)
    return ((norms(critic(points), points) - center) ** 2).mean()


@client("igul222/improved_wgan_training")
def improved_wgan_training(n):
    n.LAMBDA = 0.1
    return n.LAMBDA * wgan_gp(n, n.critic, n.fake, n.real)


@client("caogang/wgan-gp")
def caogang(n):
    n.netD, n.real_data, n.fake_data, n.LAMBDA = n.critic, n.real, n.fake, 10
    return wgan_gp(n, n.netD, n.real_data, n.fake_data) * n.LAMBDA


@client("eriklindernoren/PyTorch-GAN, WGAN-GP")
def pytorch_gan(n):
    n.D, n.real_samples, n.fake_samples, n.lambda_gp = n.critic, n.real, n.fake, 10
    return n.lambda_gp * wgan_gp(n, n.D, n.real_samples, n.fake_samples)


@client("torchgan")
def torchgan(n):
    """With its one factor, and with a norm for each sample."""
    n.epsilon = torch.rand(1).expand(B).double()
    return 10 * wgan_gp(n, n.critic, n.real, n.fake)


@client("kwotsin/mimicry")
def mimicry(n):
    n.netD, n.real_images, n.fake_images, n.gp_scale = n.critic, n.real, n.fake, 5.0
    return wgan_gp(n, n.netD, n.real_images, n.fake_images) * n.gp_scale


@client('junyanz/CycleGAN, `type="mixed"`')
def cycle_gan(n):
    n.netD, n.real_data, n.fake_data = n.critic, n.real, n.fake
    n.lambda_gp, n.constant = 10.0, 0.7
    points = mixed(n.real_data, n.fake_data, n.epsilon)
    found = gradient(n.netD(points), points).view(B, -1)
    return (((found + 1e-16).norm(2, dim=1) - n.constant) ** 2).mean() * n.lambda_gp


@client('junyanz/CycleGAN, `type="real"`')
def cycle_gan_real(n):
    n.epsilon = torch.ones(B, dtype=torch.float64)
    return cycle_gan(n)


@client("tensorflow/gan")
def tensorflow_gan(n):
    n.weight, n.target = 3.0, 2.0
    points = mixed(n.real, n.fake, n.epsilon)
    slopes = norms(n.critic(points), points)
    return n.weight * ((slopes / n.target - 1) ** 2).mean()


@client("keras.io")
def keras(n):
    """With uniform factors."""
    n.gp_weight = 10.0
    return n.gp_weight * wgan_gp(n, n.critic, n.fake, n.real)


@client("sdv-dev/CTGAN")
def ctgan(n):
    """Six rows in pacs of three: two, which are no multiple of three."""
    n.D, n.pac, n.lambda_ = C * H * W, 3, 10
    n.real, n.fake, n.epsilon = n.real.flatten(1), n.fake.flatten(1), n.epsilon[: B // n.pac]
    seq = nn.Sequential(nn.Linear(n.pac * n.D, 8), nn.SiLU(), nn.Linear(8, 1)).double()
    n.discriminator = n.critic = SimpleNamespace(seq=seq, parameters=seq.parameters)

    def forward(rows):
        assert rows.size()[0] % n.pac == 0
        return seq(rows.view(-1, n.pac * n.D))

    alpha = n.epsilon.reshape(-1, 1, 1).repeat(1, n.pac, n.D).view(-1, n.D)
    points = (alpha * n.real + (1 - alpha) * n.fake).requires_grad_()
    found = gradient(forward(points), points).view(-1, n.pac * n.D).norm(2, dim=1) - 1
    return (found**2).mean() * n.lambda_


@client("BasicSR, mmgeneration")
def mmgeneration(n):
    """``norm_mode="HWC"``."""
    n.discriminator, n.real_data, n.fake_data, n.loss_weight = n.critic, n.real, n.fake, 10.0
    return n.loss_weight * wgan_gp(n, n.discriminator, n.real_data, n.fake_data)


@client("Zeleni9/pytorch-wgan")
def zeleni9(n):
    n.D, n.real_images, n.fake_images, n.lambda_term = n.critic, n.real, n.fake, 10
    return wgan_gp(n, n.D, n.real_images, n.fake_images) * n.lambda_term


@client("POSTECH-CVLab/PyTorch-StudioGAN")
def studio_gan(n):
    n.gp_lambda, n.labels = 10.0, n.y
    n.Dis = n.critic
    n.Dis.forward = lambda x, y: {"adv_output": Critic.forward(n.Dis, x, y)}
    return n.gp_lambda * wgan_gp(n, lambda x: n.Dis(x, n.labels)["adv_output"], n.real, n.fake)


@client("LynnHo/DCGAN-LSGAN-WGAN-GP-DRAGAN-Pytorch")
def lynnho(n):
    n.D, n.weight = n.critic, 10.0
    alpha = n.epsilon.reshape(-1, 1, 1, 1)
    points = (n.real + alpha * (n.fake - n.real)).requires_grad_()
    return n.weight * ((norms(n.D(points), points) - 1) ** 2).mean()


@client("LMescheder/GAN_stability, `wgangp`")
def gan_stability(n):
    n.discriminator, n.x_real, n.x_fake, n.reg_param = n.critic, n.real, n.fake, 10.0
    points = mixed(n.x_fake, n.x_real, n.epsilon)
    squares = gradient(n.discriminator(points, n.y), points).pow(2).view(B, -1).sum(1)
    return n.reg_param * (squares.sqrt() - 1.0).pow(2).mean()


@client("gretel-synthetics, DoppelGANger")
def doppelganger(n):
    """The paper's: one norm for each sample over attributes and features."""
    n.coefficient, n.critic = 10.0, Critic(7 + 2 * 5).double()
    n.discriminate = lambda batch: n.critic(torch.cat([x.flatten(1) for x in batch], dim=1))
    n.real_batch, n.generated_batch = (
        [torch.randn(B, 7).double(), torch.randn(B, 2, 5).double()] for _ in range(2)
    )
    points = [mixed(r, g, n.epsilon) for r, g in zip(n.real_batch, n.generated_batch, strict=True)]
    found = torch.autograd.grad(n.discriminate(points).sum(), points, create_graph=True)
    joint = sum(each.flatten(1).square().sum(1) for each in found).sqrt()
    return n.coefficient * ((joint - 1.0) ** 2).mean()


class Molecules(nn.Module):
    """Logits and features of a graph."""

    def __init__(self):
        super().__init__()
        self.edges, self.nodes = nn.Linear(4 * 4 * 2, 8), nn.Linear(4 * 3, 8)
        self.score = nn.Linear(8, 1)

    def forward(self, adjacency, hidden, node):
        features = torch.tanh(self.edges(adjacency.flatten(1)) + self.nodes(node.flatten(1)))
        return self.score(features), features


def molecules(n):
    n.D = n.critic = Molecules().double()
    n.lambda_gp = 10.0
    n.a_tensor, n.edges_hat = torch.rand(2, B, 4, 4, 2).double()
    n.x_tensor, n.nodes_hat = torch.rand(2, B, 4, 3).double()
    n.x_int0 = mixed(n.a_tensor, n.edges_hat, n.epsilon)
    n.x_int1 = mixed(n.x_tensor, n.nodes_hat, n.epsilon)
    n.logits, n.features = n.D(n.x_int0, None, n.x_int1)


@client("yongqyu/MolGAN-pytorch")
def molgan(n):
    """The paper's: one norm of the scores' gradient with respect to edges and nodes."""
    molecules(n)
    found = torch.autograd.grad(n.logits.sum(), (n.x_int0, n.x_int1), create_graph=True)
    joint = sum(each.flatten(1).square().sum(1) for each in found).sqrt()
    return n.lambda_gp * ((joint - 1) ** 2).mean()


@client("yongqyu/MolGAN-pytorch, as it is there")
def molgan_as_it_is(n):
    molecules(n)
    parts = [norms(n.logits, n.x_int0), norms(n.features, n.x_int1)]
    return n.lambda_gp * sum(((part - 1) ** 2).mean() for part in parts)


# Scores that the loss takes, too.


def squares(scores, points):
    return gradient(scores.sum(), points).square().flatten(1).sum(1)


def scored(n, samples, *labels):
    """``(samples that require a gradient, scores)``."""
    samples = samples.clone().requires_grad_()
    return samples, n.critic(samples, *labels)


@client("brownvc/R3GAN")
def r3gan(n):
    n.Discriminator, n.RealSamples, n.FakeSamples, n.Conditions = n.critic, n.real, n.fake, n.y
    n.Gamma = 0.5
    real, real_logits = scored(n, n.RealSamples, n.Conditions)
    fake, fake_logits = scored(n, n.FakeSamples, n.Conditions)
    penalties = squares(real_logits, real) + squares(fake_logits, fake)
    adversarial = softplus(-(real_logits - fake_logits)).squeeze(1)
    return (adversarial + n.Gamma / 2 * penalties).mean()


@client("NVlabs/StyleGAN2, StyleGAN3, phase Dreg")
def stylegan_reg(n):
    n.D, n.real_img, n.real_c = n.critic, n.real, n.y
    n.D_reg_interval, n.r1_gamma = 16, 10.0
    n.run_D = lambda img, c: n.D(img.flip(3), c)  # an augmentation
    real_img_tmp = n.real_img.detach().requires_grad_()
    r1 = squares(n.run_D(real_img_tmp, n.real_c), real_img_tmp)
    return (r1 * (n.r1_gamma / 2)).mean().mul(n.D_reg_interval)


@client("NVlabs/StyleGAN2, phase Dboth")
def stylegan_both(n):
    n.r1_gamma = 10.0
    n.real_img_tmp, n.real_logits = scored(n, n.real, n.y)
    return (squares(n.real_logits, n.real_img_tmp) * (n.r1_gamma / 2)).mean()


@client("NVlabs/StyleGAN2, phase Greg")
def stylegan_path_length(n):
    pl_noise = torch.randn_like(n.real) / (H * W) ** 0.5
    n.critic = nn.Linear(8, C * H * W).double()  # the generator, here
    n.pl_weight, n.pl_decay = 2.0, 0.01
    n.gen_ws = n.real.reshape(B, -1)[:, :24].reshape(B, 3, 8).requires_grad_()
    n.gen_img = n.critic(n.gen_ws.sin().sum(1)).reshape(B, C, H, W)
    pl_grads = gradient((n.gen_img * pl_noise).sum(), n.gen_ws)
    pl_lengths = pl_grads.square().sum(2).mean(1).sqrt()
    pl_mean = torch.zeros((), dtype=torch.float64).lerp(pl_lengths.mean(), n.pl_decay)
    return ((pl_lengths - pl_mean).square() * n.pl_weight).mean()


@client("lucidrains/stylegan2-pytorch, lightweight-gan")
def lucidrains(n, center=1.0):
    n.image_batch, n.real_output = scored(n, n.real)
    return 10 * ((norms(n.real_output, n.image_batch) - center) ** 2).mean()


@client("lucidrains/gigagan-pytorch and others")
def lucidrains_center(n):
    n.weight, n.center = 10, 0.0
    penalty = lucidrains(n, n.center)
    n.output, n.images = n.real_output, n.image_batch
    return penalty


@client("StudioGAN, R1")
def studio_gan_r1(n):
    n.r1_lambda = 10.0
    n.images, n.adv_output = scored(n, n.real, n.y)
    return n.r1_lambda * (0.5 * squares(n.adv_output, n.images).mean(0))


@client("GAN_stability, `real` or `fake`")
def gan_stability_r1(n):
    n.reg_param = 10.0
    n.x_real, n.d_real = scored(n, n.real, n.y)
    return n.reg_param * squares(n.d_real, n.x_real).mean()


@client("skrl, AMP")
def skrl_amp(n):
    n.discriminator_gradient_penalty_scale = 5.0
    n.sampled_amp_motion_states, n.amp_motion_logits = scored(n, n.real.flatten(1))
    found = gradient(n.amp_motion_logits, n.sampled_amp_motion_states)
    return n.discriminator_gradient_penalty_scale * torch.sum(torch.square(found), dim=-1).mean()


@client("BasicSR, StyleGAN2")
def basicsr_r1(n):
    n.r1_reg_weight, n.net_d_reg_every = 10, 16
    n.real_img, n.real_pred = scored(n, n.real)
    r1 = squares(n.real_pred, n.real_img).mean()
    return n.r1_reg_weight / 2 * r1 * n.net_d_reg_every


@client('mmgeneration, R1, `norm_mode="pixel"`')
def mmgeneration_r1_pixel(n):
    n.discriminator, n.real_data, n.loss_weight = n.critic, n.real, 3.0
    points, scores = scored(n, n.real_data)
    return n.loss_weight * (gradient(scores, points).norm(2, dim=1) ** 2).mean()


@client('mmgeneration, R1, `norm_mode="HWC"`')
def mmgeneration_r1(n):
    n.discriminator, n.real_data, n.loss_weight = n.critic, n.real, 3.0
    points, scores = scored(n, n.real_data)
    return n.loss_weight * gradient(scores, points).pow(2).reshape(B, -1).sum(1).mean()


@client("PyTorch-GAN, WGAN-div")
def pytorch_gan_div(n):
    n.D, n.real_imgs, n.fake_imgs, n.k, n.p = n.critic, n.real, n.fake, 2, 6
    (real, real_validity), (fake, fake_validity) = scored(n, n.real_imgs), scored(n, n.fake_imgs)
    real_norm = squares(real_validity, real) ** (n.p / 2)
    fake_norm = squares(fake_validity, fake) ** (n.p / 2)
    div_gp = torch.mean(real_norm + fake_norm) * n.k / 2
    return -torch.mean(real_validity) + torch.mean(fake_validity) + div_gp


# DRAGAN.


def penalty_at(critic, points):
    points = points.detach().requires_grad_()
    return ((norms(critic(points), points) - 1) ** 2).mean()


@client("kodalinaveen3/DRAGAN, the authors")
def dragan(n):
    n.lambda_ = 10
    deviation = n.real.std(correction=0)  # NumPy's
    return n.lambda_ * penalty_at(n.critic, n.real + 0.5 * deviation * torch.rand_like(n.real))


@client("LynnHo, StudioGAN")
def dragan_on_a_line(n):
    n.weight = 10.0
    differences = 0.5 * n.real.std() * torch.rand_like(n.real)
    alpha = n.epsilon.reshape(-1, 1, 1, 1)
    return n.weight * penalty_at(n.critic, n.real + alpha * differences)


@client("PyTorch-GAN")
def dragan_in_each_entry(n):
    """With a norm for each sample. ``1 - alpha`` is as uniform as ``alpha``."""
    n.lambda_gp, uniform, alpha = 10, torch.rand_like(n.real), 1 - torch.rand_like(n.real)
    points = alpha * n.real + (1 - alpha) * (n.real + 0.5 * n.real.std() * uniform)
    return n.lambda_gp * penalty_at(n.critic, points)
