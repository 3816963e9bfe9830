"""What other implementations compute that take their penalty of the loss's scores.

As in ``tests.textbook_implementations``, whose table they extend.
"""

import torch
from torch import nn
from torch.nn.functional import softplus

from tests.textbook_implementations import B, C, H, W, client, gradient, norms


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
