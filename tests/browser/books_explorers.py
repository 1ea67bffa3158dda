"""The explorers of the book, made as its notebooks make them: name -> function without arguments."""

import math

import torch

from diffusion_core import explorers, zoo
from diffusion_core.data import CLASSES, fashion_mnist, to_pictures
from diffusion_core.explorers.copying import SIZES, training_pictures
from diffusion_core.pixels import quantise


def copying():
    networks = {f"network {side}": {n: zoo.load(f"copying_{side.lower()}{n}")[1] for n in SIZES} for side in "AB"}
    shipped = {"network A": "copying_a", "network B": "copying_b"}
    return explorers.copying_explorer(networks, to_pictures(training_pictures()), shipped=shipped)


def edit_strength():
    images, targets = fashion_mnist("test")
    labels = [0, 3, 5, 6, 7, 8]
    pictures = to_pictures(images[[(targets == k).nonzero()[0][0] for k in labels]])
    return explorers.edit_strength_explorer(zoo.load("fashion")[1], pictures, torch.tensor(labels), CLASSES, zoo.load_classifier().predict, w=1.0,
                                            targets=[2, 9], shipped=("fashion", "fashion_classifier"))


def elbo_gap():
    def log_joint(z):
        return -0.5 * (z**2 + ((1.5 - z**2) / 0.5) ** 2) - math.log(2 * math.pi * 0.5)

    return explorers.elbo_gap_explorer(log_joint)


def ema_half_life():
    return explorers.ema_explorer()


def fill_order():
    images, targets = fashion_mnist("test")
    chosen = [(targets == k).nonzero()[0][0] for k in (9, 3, 8, 5)]
    pictures = quantise(to_pictures(images))[chosen]
    return explorers.fill_order_explorer(zoo.load_pixels("pixels_any"), pictures, ["ankle boot", "dress", "bag", "sandal"], shipped="pixels_any")


def forward():
    images, targets = fashion_mnist("test")
    chosen = [(targets == 7).nonzero()[0][3], (targets == 8).nonzero()[0][5]]
    labels = torch.from_numpy(targets[chosen]).long()
    return explorers.forward_explorer(zoo.load("fashion")[1], to_pictures(images[chosen]), labels, names=["sneaker", "bag"], shipped="fashion")


def interval():
    return explorers.interval_explorer(zoo.load("fashion")[1], CLASSES, shipped="fashion")


def loss_spending():
    return explorers.loss_spending_explorer()


def particles():
    return explorers.particles_explorer()


def reverse_kernel():
    return explorers.reverse_kernel_explorer()


def steps_eta():
    return explorers.steps_eta_explorer(zoo.load("fashion")[1], torch.arange(10), shipped="fashion")


def strength():
    return explorers.strength_explorer(zoo.load("fashion")[1], zoo.load("fashion_guided")[1], CLASSES, shipped=("fashion", "fashion_guided"))


def variance_gap():
    return explorers.variance_gap_explorer()


EXPLORERS = {maker.__name__: maker for maker in (copying, edit_strength, elbo_gap, ema_half_life, fill_order, forward, interval, loss_spending, particles,
                                                  reverse_kernel, steps_eta, strength, variance_gap)}
