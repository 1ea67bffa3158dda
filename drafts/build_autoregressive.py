import nbformat
from nbformat.v4 import new_notebook, new_markdown_cell, new_code_cell
cells = []
def md(text): cells.append(new_markdown_cell(text.strip("\n")))
def code(src, alt=None, hide=False, nbg=None):
    meta = {}
    if alt: meta["mystnb"] = {"image": {"alt": alt}}
    if hide: meta["tags"] = ["hide-input"]
    if nbg: meta["nbgrader"] = nbg
    cells.append(new_code_cell(src.strip("\n"), metadata=meta))
def solution(name): return {"schema_version": 3, "grade": False, "solution": True, "locked": False, "task": False, "grade_id": f"02-ar-{name}"}
def check(name): return {"schema_version": 3, "grade": True, "solution": False, "locked": True, "task": False, "points": 1, "grade_id": f"02-ar-{name}-check"}

md(r'''
# 2.3 Denoising autoregressive models

The bound of [section 2.2](02_elbo.ipynb) says that a model gives a picture *at least* so much probability. A model that writes a picture pixel by pixel gives it a probability
*exactly*. The two kinds of model look like rivals: one refines everything at once, a little at a time; the other finishes one piece after the other. But hide the pixels of a picture one by
one and learn to undo that: is this diffusion, or is it writing pixel by pixel?

**You will be able to**

- write the probability of a picture as a product, in any order, and measure it in {term}`bits per dimension`;
- prove that a diffusion whose noise is *hiding* can be an {term}`autoregressive model`, with a bound that is no bound but the value;
- train one network for all orders, fill in pictures with it, and say what it costs to predict many pixels at once;
- go from coarse to fine, and from pixel to patch, with a small diffusion model that draws the next patch;
- compare such models by one number, and say what makes the comparison fair.

**What it builds on.** The bound of a chain ([section 2.2](02_elbo.ipynb)) and [notation](../../book/notation.md). Four small networks are shipped with the book; each was trained for
some minutes on one core.

**Running time.** About half a minute on one processor core.
''')

code(r'''
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

from diffusion_core import plots, zoo
from diffusion_core.data import CLASSES, fashion_mnist, to_pictures
from diffusion_core.explorers.fill_order import fill_order_explorer
from diffusion_core.gaussian import q_sample
from diffusion_core.likelihood import vlb_prior, vlb_term
from diffusion_core.patches import sample_patches
from diffusion_core.pixels import any_order_bound, log_prob, log_probs, quantise, sample, stages, to_grey

plots.use_style()
SIZE, LEVELS = 14, 8
DIMS = SIZE**2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bits(log_p):
    """Nats a picture as bits a dimension."""
    return -log_p.double() / (DIMS * math.log(2))


train, labels = fashion_mnist("train")
test, test_labels = fashion_mnist("test")
x_train, x_test = quantise(to_pictures(train)), quantise(to_pictures(test))
y_test = torch.from_numpy(test_labels).long()
print(f"{len(x_train):,} + {len(x_test):,} pictures of {SIZE} x {SIZE} pixels, levels {int(x_test.min())} .. {int(x_test.max())}")
''')

md(r'''
## 1. What is meant

"Denoising autoregressive model" is not a standard term, and papers mean different things by names close to it. {cite:t}`hoogeboom2022ardm` call models that fill in hidden pixels in any order *autoregressive diffusion models*;
{cite:t}`rasul2021timegrad` draw the next value of a time series by diffusion and call that *autoregressive denoising diffusion*; and any diffusion model is in a sense autoregressive
over its noise levels. Here is what **we** mean: *a model that makes a picture in an order, in which every step answers a denoising question: given what is known so far, what was the part that
has been destroyed?* The kinds differ in what a step adds, and in what destroys.

| kind | a step adds | what destroyed it | likelihood |
|---|---|---|---|
| pixel model {cite}`oord2016pixelrnn` | the next pixel | hiding, in one fixed order | exact |
| any order {cite}`austin2021d3pm,hoogeboom2022ardm` | some pixels, anywhere | hiding, at random | exact for one order, a bound for the average over orders |
| coarse to fine {cite}`reed2017multiscale` | the next finer grid | hiding the finer grids | exact |
| next patch {cite}`li2024mar` | the next patch | Gaussian noise on that patch alone | a bound |
| diffusion as in DDPM {cite}`ho2020ddpm` | a little less noise | Gaussian noise on everything | a bound |

To compare them we need one set of pictures on which probabilities, not densities, can be computed: Fashion-MNIST {cite}`xiao2017fashion`, averaged over squares of 2 x 2 pixels and cut into 8 grey levels.
''')

code(r'''
shown = [list(y_test).index(k) for k in range(10)]
small = to_grey(x_test[shown], LEVELS).repeat_interleave(2, 2).repeat_interleave(2, 3)
plots.show_images(torch.cat([to_pictures(test[shown]), small]), columns=10, row_titles=["28 x 28, 256 levels", "14 x 14, 8 levels"])
plt.show()
''', alt="Two rows of ten clothes, one of each class. Above the pictures of the data set, below the same in 14 by 14 pixels and eight grey levels: blocky, but every class can be told.")

md(r'''
## 2. The chain rule, and what context is worth

There are $8^{196}$ such pictures. No table holds their probabilities, but the {term}`chain rule` of probability breaks the table into small ones. For any order $\sigma$ of the $D$ pixels,

$$
\log p(x) = \sum_{k=1}^{D} \log p\big( x_{\sigma(k)} \mid x_{\sigma(1)}, \dots, x_{\sigma(k-1)} \big) .
$$ (eq-ar-chain)

Nothing is approximated. And whatever we put in for the conditionals, right or wrong, as long as each sums to 1 over the levels of its pixel, the product sums to 1 over all pictures. So *any* network that outputs
probabilities for the next pixel defines a proper distribution, and its likelihood is a plain sum.

We measure in **bits per dimension**: $-\log_2 p(x) / D$, averaged over test pictures. It is how long a file would be, in bits a pixel, if the model were used to compress it. Writing each level plainly costs 3 bits.

How many earlier pixels must a conditional see? The first rows of the next table *count*: for every combination of the levels of a few neighbours they note how often each level followed in 8,000 training
pictures. The last row is a network that sees all earlier pixels in raster order, row by row. **Before you run it,** guess three numbers: the bits when the left neighbour is known, when left and upper are, and for the network.
''')

code(r'''
def neighbour(x, rows, columns):
    """The level of the pixel so many rows up and columns to the left; the number LEVELS outside."""
    padded = F.pad(x, (2, 2, 2, 0), value=LEVELS)
    return padded[:, 2 - rows: 2 - rows + SIZE, 2 - columns: 2 - columns + SIZE]


def counted_bits(context, levels=LEVELS, x=x_train, y=x_test):
    """Test bits of a table of counts; context(x) lists what it looks at, each (N, 14, 14) in 0 .. levels."""
    def keys(pictures):
        key = torch.zeros_like(pictures)
        for part in context(pictures):
            key = key * (levels + 1) + part
        return key.flatten()

    place = torch.arange(DIMS).reshape(1, SIZE, SIZE)
    size = 1 + max(int(keys(x).max()), int(keys(y).max()))
    counts = torch.full((size * levels,), 0.2, dtype=torch.float64)      # nothing is impossible
    counts += torch.bincount(keys(x) * levels + x.flatten(), minlength=size * levels)
    p = counts.reshape(size, levels) / counts.reshape(size, levels).sum(1, keepdim=True)
    return float(-p[keys(y), y.flatten()].log2().mean())


UP_LEFT, UP, UP_RIGHT, LEFT = (1, 1), (1, 0), (1, -1), (0, 1)
print("bits a dimension on the test pictures, exact")
print(f"  every level alike                       {math.log2(LEVELS):.3f}")
for name, context in (("how often each level occurs", lambda x: []),
                      ("left", lambda x: [neighbour(x, *LEFT)]),
                      ("left, up", lambda x: [neighbour(x, *LEFT), neighbour(x, *UP)]),
                      ("left, up, up-left", lambda x: [neighbour(x, *c) for c in (LEFT, UP, UP_LEFT)]),
                      ("left, up, up-left, up-right", lambda x: [neighbour(x, *c) for c in (LEFT, UP, UP_LEFT, UP_RIGHT)]),
                      ("the same and two to the left", lambda x: [neighbour(x, *c) for c in (LEFT, UP, UP_LEFT, UP_RIGHT, (0, 2))])):
    print(f"  counts: {name:31} {counted_bits(context):.3f}")

raster, raster_card = zoo.load_pixels("pixels_raster"), zoo.read("pixels_raster")[0]
live = bits(log_prob(raster, x_test[:500]))
mean, error = raster_card["figures"]["exact"]
print(f"  network: all pixels before              {mean:.3f}  (standard error {error:.3f}; all 10,000 test pictures)")
print(f"the first 500 bundled test pictures here, within 4 standard errors: "
      f"{bool(abs(live.mean() - mean) < 4 * live.std() / 500**0.5)}")
''')

md(r'''
One neighbour saves most of what can be saved. Two neighbours and more help less and less, and the last row of counts is *worse* than the one before: 59,049 combinations cannot be learned from the pictures we have. A network shares what it learns between
contexts that look alike, and so it can use all of them.

(A warning before we go on. The number depends on the cut into levels: with fewer levels there is less to predict. Bits per dimension of different quantisations, resolutions or data sets cannot be compared. Below, everything has the same 196 pixels and
8 levels.)

### A network that cannot look ahead

The network gives all 196 conditionals in **one** call: it reads the whole picture and outputs, at every pixel, probabilities for that pixel's level. That is legitimate only if the output at a pixel does not depend on the pixel itself or on later ones. The trick is old and simple
{cite}`oord2016pixelrnn`: in a 3 x 3 convolution the weights below and to the right of the middle are set to zero; in the first layer the middle one too. Whether it worked can be seen, by the gradient of one output with respect to all inputs.
''')

code(r'''
def depends_on(trunk, row, column):
    """Which inputs the output at (row, column) depends on, by gradient, (14, 14) bool."""
    x = torch.rand(1, LEVELS + 1, SIZE, SIZE, generator=seeded(), requires_grad=True)
    gradient, = torch.autograd.grad(trunk(x)[0, :, row, column].square().sum(), x)
    return gradient[0].abs().sum(0) > 0


row, column = 7, 6
alone, _ = zoo.load_pixels("pixels_raster"), None
alone.trunk.attention.out.weight.zero_()                     # convolutions alone
alone.trunk.attention.out.bias.zero_()
before = torch.arange(DIMS).reshape(SIZE, SIZE) < row * SIZE + column
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.2))
for axis, (title, net) in zip(axes, {"masked convolutions": alone, "and one causal attention": raster}.items()):
    seen = depends_on(net.trunk, row, column)
    picture = torch.where(seen, 2, torch.where(before, 1, 0))
    picture[row, column] = 3
    axis.imshow(np.array([[1, 1, 1], [0.9, 0.62, 0], [0.34, 0.71, 0.91], [0, 0, 0]])[picture], interpolation="nearest")
    axis.set(title=title, xlabel="column", ylabel="row", xticks=(0, 6, 13), yticks=(0, 7, 13))
    axis.grid(False)
    print(f"{title}: sees {int((seen & before).sum())} of {int(before.sum())} pixels before it, "
          f"and {int((seen & ~before).sum())} of the others")
plt.show()
''', alt="Two grids of 14 by 14 pixels. On the left, masked convolutions: the output at the black pixel sees a blue region above and to its left; the upper right is orange, before it but not seen. On the right, with attention: all pixels before it are blue but one, at the end of the row above.")

md(r'''
Nothing later is seen. But of what came earlier, the convolutions miss the part to the upper right (orange): the {term}`blind spot` of masked convolutions, known since {cite:t}`oord2016gated`. One attention layer, in which every place may look at all places before it, brings in all but one pixel. A blind spot is no error, it only
leaves out context; a look ahead would be one, and exercise 2 shows how good it looks.

Where do the bits go? The map on the left shows what a pixel costs on average, the others what each pixel of some pictures cost.
''')

code(r'''
some = x_test[shown[:6]]
with torch.no_grad():
    cost = F.cross_entropy(raster(x_test[:500]), x_test[:500], reduction="none").mean(0) / math.log(2)
    each = F.cross_entropy(raster(some), some, reduction="none") / math.log(2)
figure, axes = plt.subplots(2, 7, figsize=(9, 2.9))
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
axes[0, 0].axis("off")
axes[1, 0].imshow(cost, cmap="cividis", vmin=0, vmax=4)
axes[1, 0].set_xlabel("mean", fontsize=9)
for k in range(6):
    axes[0, k + 1].imshow(some[k], cmap="gray", vmin=0, vmax=LEVELS - 1)
    image = axes[1, k + 1].imshow(each[k], cmap="cividis", vmin=0, vmax=4)
    axes[1, k + 1].set_xlabel(f"{CLASSES[k]}: {each[k].mean():.2f}", fontsize=9)
figure.colorbar(image, ax=axes, label="bits")
plt.show()
''', alt="Above, six pictures of clothes. Below, the bits that each of their pixels cost, and on the left the mean over 500 pictures: nearly nothing in the black background and in plain areas, several bits where an outline begins or where cloth has texture.")

md(r'''
The background is free. Bits are spent where something *begins* that could not be foreseen: an outline, a sleeve, texture. Once a trouser leg has begun, its next rows cost little.

To draw a picture, walk through the same order: ask for the probabilities of the first pixel, draw its level, write it down, ask for the second. That takes 196 calls of the network, one after the other. Section 6 shows the result.

## 3. Hiding as noise: the chain that *is* an autoregressive model

Now look at the same model with the eyes of diffusion. Section 4.3 of {cite:t}`ho2020ddpm` remarks in a few lines that an autoregressive model is a diffusion with another kind of noise. We make the remark precise, and check it.

Take $T = D$. The forward process destroys one pixel a step: step $t$ replaces pixel $t$ by the mark "hidden". After $D$ steps the picture is blank. The reverse process must bring back one pixel a step, the last first. Its step from $x_t$ to $x_{t-1}$ changes pixel $t$ only, so all that $p_\theta(x_{t-1} \mid x_t)$ needs is a
probability for the level of pixel $t$ given pixels $t + 1, \dots, D$, which are the ones still visible. Write $x^{(t)}$ for pixel $t$ of the clean picture. Then the bound of the chain, [as section 2.2 derives it](02_elbo.ipynb), is

$$
\underbrace{-\mathrm{KL}\big( q(x_T \mid x_0) \,\|\, p(x_T) \big)}_{=\,0}
- \sum_{t=1}^{T} \underbrace{\mathbb E_{q}\, \mathrm{KL}\big( q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t) \big)}_{=\,-\log p_\theta(x^{(t)} \mid x^{(t+1)}, \dots, x^{(D)})}
\;=\; \sum_{t=1}^{D} \log p_\theta\big( x^{(t)} \mid x^{(t+1)}, \dots, x^{(D)} \big) \;=\; \log p_\theta(x_0) .
$$ (eq-ar-mask-chain)

*Why.* The blank picture is certain, so the prior term is 0. Given $x_0$, the step back is certain too: $q(x_{t-1} \mid x_t, x_0)$ puts pixel $t$ back as it was. The KL from a certain outcome is minus the logarithm of the probability that $p_\theta$ gives it. The sum is the chain rule {eq}`eq-ar-chain` for the order "last pixel
first". **So the bound is the value.** There is no gap because nothing is hidden from $p_\theta$'s bookkeeping: $x_1, \dots, x_T$ are functions of $x_0$, so the posterior over them, of which the gap measures the distance, has only one outcome.

The cell takes pictures of 3 pixels with 3 levels, and a table of *arbitrary* conditionals in place of a network. It computes the left side by a general routine for Markov chains on a finite set of states: transition matrices, Bayes' rule, sums over all 64 states. The routine does not know what an autoregressive model is.
''')

code(r'''
K, D = 3, 3                                                                  # levels and pixels; K marks a hidden pixel
PICTURES = list(itertools.product(range(K), repeat=D))
STATES = list(itertools.product(range(K + 1), repeat=D))                     # pictures with and without hidden pixels
number = {state: n for n, state in enumerate(STATES)}
arbitrary = torch.randn(len(STATES), D, K, generator=seeded(1), dtype=torch.float64).softmax(-1)   # p(level of i | what is shown)


def with_pixel(state, i, level):
    return state[:i] + (level,) + state[i + 1:]


def log_p(table, x, order):
    """log p(x), pixel by pixel in this order."""
    state, total = (K,) * D, 0.0
    for i in order:
        total += float(table[number[state], i, x[i]].log())
        state = with_pixel(state, i, x[i])
    return total


def chain_bound(x, forward, backward, prior):
    """The bound on log p(x) of any chain on STATES: transition matrices q(x_t | x_{t-1}) and p(x_{t-1} | x_t), and p(x_T)."""
    def kl(p, q):
        return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()

    q = [torch.eye(len(STATES), dtype=torch.float64)[number[x]]]
    for step in forward:
        q.append(q[-1] @ step)                                               # q(x_t | x_0)
    bound = -kl(q[-1], prior)
    for t in range(len(forward), 0, -1):
        for n in q[t].nonzero()[:, 0]:
            posterior = q[t - 1] * forward[t - 1][:, n]                      # Bayes: q(x_{t-1} | x_t, x_0)
            bound -= q[t][n] * kl(posterior / posterior.sum(), backward[t - 1][n])
    return float(bound)


forward, backward = [], []
for t in range(1, D + 1):                                                    # pixel t has index t - 1
    hides, reveals = torch.zeros(2, len(STATES), len(STATES), dtype=torch.float64)
    for state in STATES:
        hides[number[state], number[with_pixel(state, t - 1, K)]] = 1
        for level in range(K):
            reveals[number[state], number[with_pixel(state, t - 1, level)]] += arbitrary[number[state], t - 1, level]
    forward.append(hides)
    backward.append(reveals)
blank = torch.eye(len(STATES), dtype=torch.float64)[number[(K,) * D]]
marginal = blank @ backward[2] @ backward[1] @ backward[0]                   # what the reverse chain really draws

autoregressive = [log_p(arbitrary, x, (2, 1, 0)) for x in PICTURES]
bounds = [chain_bound(x, forward, backward, blank) for x in PICTURES]
exact = [math.log(marginal[number[x]]) for x in PICTURES]
off = max(max(abs(a - b), abs(a - c)) for a, b, c in zip(autoregressive, bounds, exact))
print(f"{len(PICTURES)} pictures: bound of the chain, log p by multiplying out the chain, autoregressive log p: equal to 1e-12: {off < 1e-12}")
print(f"probabilities of all pictures sum to 1 within 1e-12: {abs(sum(map(math.exp, autoregressive)) - 1) < 1e-12}")
''')

md(r'''
:::{admonition} Belief: "Autoregressive models and diffusion models are opposites"
:class: tip
:name: belief-opposites

They are two settings of one dial, the corruption. Hide one pixel a step in a fixed order, and the diffusion *is* an autoregressive model, to twelve digits. In the other direction, DDPM is autoregressive over noise levels: each of its 1,000 "tokens" is a whole picture, a little less noisy than the one before. What changes is
the likelihood. A noisy picture leaves open which noise made it, so that the chain has many paths to one $x_0$, their posterior is spread out, and the bound has a gap.
:::

## 4. Any order: absorbing-state diffusion

Why hide in a fixed order? In {term}`absorbing-state diffusion` {cite}`austin2021d3pm` every pixel decides for itself when it vanishes. Over $T$ steps each is hidden at a uniformly random time and stays hidden, so that at time $t$

$$
q(x_t \mid x_0):\quad \text{each pixel, independently, is hidden with probability } t/T .
$$

Going back, a hidden pixel should come back in the step from $t$ to $t - 1$ with probability $1/t$. Its level is drawn from the network's $p_\theta(x^{(i)} \mid x_t)$. Pixels that come back in the same step are drawn independently of each other. Insert both in the bound, and every KL becomes a
{term}`cross-entropy` of hidden pixels, weighted by $1/t$:

$$
\log p_\theta(x_0) \;\ge\; \sum_{t=1}^{T} \frac1t\; \mathbb E_{q(x_t \mid x_0)} \sum_{i \text{ hidden in } x_t} \log p_\theta\big( x^{(i)} \mid x_t \big) .
$$ (eq-ar-absorbing)

The network must answer for *every* mask, not for 196 of them. In return it can be trained like a diffusion model: draw a time, hide pixels at random, predict all of them, one call of an ordinary network without any causal masking. It is a masked language model with the right weights.

With more and more steps, two pixels never return at the same time. What is left is a random order, one pixel after the other, and the sum turns into an average over orders. It can be written as an average over the number $m$ of hidden pixels, uniform on $1, \dots, D$, and a random mask $M$ of that size:

$$
\lim_{T \to \infty} (\text{right side of the bound}) = \mathbb E_{\sigma} \sum_{k=1}^{D} \log p_\theta\big( x_{\sigma(k)} \mid x_{\sigma(1)}, \dots, x_{\sigma(k-1)} \big)
= \mathbb E_{m}\, \mathbb E_{M} \Big[ \frac{D}{m} \sum_{i \in M} \log p_\theta\big( x^{(i)} \mid x_{\text{not in } M} \big) \Big] .
$$ (eq-ar-any-order)

The right side is how our network was trained, and how its bound is measured: one random mask gives an unbiased estimate {cite}`hoogeboom2022ardm`. Each single order is an exact model with its own $p_\sigma(x)$. Choosing the order at random makes a mixture of $D!$ models, whose likelihood nobody can add up, and by concavity of the logarithm

$$
\mathbb E_\sigma \log p_\sigma(x) \;\le\; \log \mathbb E_\sigma\, p_\sigma(x) ,
$$ (eq-ar-mixture)

with equality when all orders agree. They agree if the conditionals are those of one joint distribution. A network's need not be: nothing forces its answers to different masks to be consistent.

**Predict.** The next cell has two tables for pictures of 3 pixels: the arbitrary one, and the exact conditionals of a joint distribution. For the exact table, how far is the bound {eq}`eq-ar-absorbing` from the entropy with $T = 1$, with $T = 3 = D$, with $T = 1000$?
''')

code(r'''
joint = (1.5 * torch.randn(len(PICTURES), generator=seeded(2), dtype=torch.float64)).softmax(0)
fits = torch.tensor([[all(s in (K, v) for s, v in zip(state, x)) for x in PICTURES] for state in STATES]).double()
level = torch.tensor(PICTURES)
consistent = torch.stack([torch.stack([(fits * joint * (level[:, i] == k)).sum(1) for k in range(K)], -1) for i in range(D)], 1)
consistent = consistent / consistent.sum(-1, keepdim=True)                   # p(level of i | what is shown), from the joint
entropy = -float((joint * joint.log2()).sum())


def absorbing_bound(table, x, T):
    """The right side of the bound, in nats, with the masks added up one by one."""
    t, total = torch.arange(1, T + 1, dtype=torch.float64), 0.0
    for hidden in itertools.product((False, True), repeat=D):
        m = sum(hidden)
        weight = float(((t / T) ** m * (1 - t / T) ** (D - m) / t).sum())
        state = number[tuple(K if h else v for h, v in zip(hidden, x))]
        total += weight * sum(float(table[state, i, x[i]].log()) for i in range(D) if hidden[i])
    return total


print("exact conditionals: bits a picture above the entropy, by the number of steps")
for T in (1, 2, 3, 10, 100, 1000):
    cost = -sum(float(p) * absorbing_bound(consistent, x, T) for p, x in zip(joint, PICTURES)) / math.log(2)
    print(f"  T = {T:4d}: {cost - entropy:.4f}")
orders = list(itertools.permutations(range(D)))
for name, table in (("exact", consistent), ("arbitrary", arbitrary)):
    by_order = torch.tensor([[log_p(table, x, order) for x in PICTURES] for order in orders], dtype=torch.float64)
    gap = by_order.logsumexp(0) - math.log(len(orders)) - by_order.mean(0)
    print(f"{name:9} conditionals: orders agree to 1e-12: {bool((by_order - by_order[0]).abs().max() < 1e-12)}; "
          f"mixture above the mean over orders by at most {float(gap.max()) + 0.0:.2f} nats")
''')

md(r'''
With one step, all pixels are drawn at once, independently, and the bound costs what independence costs. $T = D$ is not enough: at random times, two pixels still meet in one step now and then. The rest falls like $1/T$. Compare with section 3: there, $T = D$ steps sufficed, because the order was fixed.

### The same on clothes

The shipped network for any order has the size of the raster network, within a few weights, and was trained for as many steps. It also takes a **label**, which was hidden from it half of the time: {term}`class-conditional masking <class-conditional>`. How much can a label help? For exact models the saving is the mutual information of label and picture,

$$
\mathbb E\big[ \log p(x \mid y) - \log p(x) \big] = I(x; y) \;\le\; \log(\text{number of classes}) ,
$$ (eq-ar-label)

which in bits per dimension is next to nothing, for ten classes and 196 pixels. **Predict** two more things: does the network for any order come close to the raster network? And if its pixels are filled in raster order, is it better or worse than in random order?
''')

code(r'''
any_net, any_card = zoo.load_pixels("pixels_any"), zoo.read("pixels_any")[0]
table = zoo.tables("pixels")
figures = any_card["figures"]
print(f"all 10,000 test pictures, bits a dimension\n  raster network, exact                       {raster_card['figures']['exact'][0]:.3f}")
print(f"  any order, bound on the mixture             {figures['any_order'][0]:.3f}")
print(f"  any order, bound, label known               {figures['any_order_given_label'][0]:.3f}")
saved = figures["any_order"][0] - figures["any_order_given_label"][0]
print(f"  the label saves {saved:.3f}; log2(10) / 196 = {math.log2(10) / DIMS:.3f}")
print(f"\nthe network for any order, in one order at a time: exact, on {table['pictures']} pictures")
for name, row in table["orders"].items():
    more, error = row["above_random"]
    print(f"  {name:20} {row['bits'][0]:.3f}" + (f"   compared with random {more:+.3f} (standard error {error:.3f})" if name != "random" else ""))
few = bits(any_order_bound(any_net, x_test[:200], draws=4, generator=seeded()))
print(f"\nthe bound on 200 pictures here, within 4 standard errors: {bool(abs(few.mean() - figures['any_order'][0]) < 4 * few.std() / 200**0.5)}")
''')

md(r'''
@@ANYTEXT@@

### What one network for all masks is good for

It can fill *any* hole, without further training: show what is known, hide the rest, and draw in any order. With a fixed raster order only holes at the end could be filled from what came before. Here the upper half of a picture is given, and the label tells what it should become.
''')

code(r'''
picture = x_test[shown[2]]                                  # a pullover
given = torch.where(torch.arange(SIZE)[:, None] < 6, picture, LEVELS)
wanted = [-1, 2, 3, 0, 8]                                   # no label, pullover, dress, T-shirt, bag
cond = torch.tensor(wanted).repeat_interleave(3)
order = torch.stack([stages("any", SIZE, seeded(k)) for k in range(len(cond))])     # an order for each
filled = sample(any_net, given.expand(len(cond), -1, -1), order, cond, seeded(3))
first = to_grey(torch.where(given == LEVELS, 3, given)[None], LEVELS)
rows = torch.cat([first, to_grey(filled, LEVELS)])
names = ["given"] + [name for k in wanted for name in (["no label"] if k < 0 else [CLASSES[k]]) * 3]
plots.show_images(rows, columns=8, titles=names)
print("what was given is unchanged:", bool((filled[:, :6] == picture[:6]).all()))
plt.show()
''', alt="The upper part of a pullover, and fifteen completions, three each with no label and with the labels pullover, dress, T-shirt and bag. The drawn lower parts differ from each other and continue the given part.")

md(r'''
### The price of haste

196 calls for a small picture are many. The network can be asked for fewer: reveal several pixels in each call. But pixels that are revealed together are drawn *independently* given what was there before. Let $S$ be such a group and $c$ what is already known. With exact conditionals, the cost in likelihood is the group's {term}`total correlation`,

$$
\mathbb E\Big[ \log p(x_S \mid c) - \sum_{i \in S} \log p(x_i \mid c) \Big] = \sum_{i \in S} H(x_i \mid c) - H(x_S \mid c) \;\ge\; 0 ,
$$ (eq-ar-parallel)

which is zero only if the pixels of the group do not depend on each other, once $c$ is known. Note that the likelihood stays *exact*: a hasty model is another model, with its own proper distribution, and the sum over stages is its likelihood. Here is the network for any order with a random order in groups of equal size.
''')

code(r'''
calls = table["calls"]
counts = [int(n) for n in calls]
figure, axis = plt.subplots(figsize=(6.4, 3.4))
axis.errorbar(counts, [row["bits"][0] for row in calls.values()], [row["bits"][1] for row in calls.values()], marker="o", ms=4, capsize=2,
              label="any order: random groups")
coarse_card = zoo.read("pixels_coarse")[0]
hasty = table["orders"]["coarse, 22 calls"]["bits"][0]
axis.plot(22, hasty, "s", label="any order: coarse-to-fine groups")
axis.plot(22, table["own"]["coarse"]["bits"][0], "^", label="network for coarse to fine")
axis.axhline(table["own"]["raster"]["bits"][0], color=plots.BLACK, ls="--", lw=1, label="raster network, 196 calls")
axis.set(xscale="log", xlabel="network calls to draw a picture", ylabel="bits per dimension (exact)", xticks=counts, xticklabels=counts)
axis.minorticks_off()
axis.legend(fontsize=9)
for n in (1, 4, 14, 49, 98):
    print(f"{n:3d} calls: {calls[str(n)]['bits'][0]:.3f} bits, {calls[str(n)]['above_random'][0]:+.3f} against 196 calls")
plt.show()
''', alt="Bits per dimension against the number of network calls, logarithmic. The curve for random groups falls steeply from one call to about fourteen, then slowly. Two marks at 22 calls, for coarse-to-fine groups, lie near or below the curve. A dashed line shows the raster network.")

md(r'''
@@HASTETEXT@@

## 5. Coarse to fine

If pixels that do not depend on each other may go together, which are they? Neighbours depend on each other most; pixels far apart much less, and less still once something *between* them is known. That suggests an order: first a few pixels spread over the picture, then the ones between, then all. The map shows ours: a grid of
4 x 4 pixels, one after the other; then twice the grid is refined, each time in three stages. 22 calls for 196 pixels, the last three of which bring 49 each (after {cite:t}`reed2017multiscale`, who drew large pictures that way).

The chain rule needs no change. It says: likelihood of the coarse grid, times likelihood of the finer given the coarser. Such models are *hierarchical*, and any model may sit at each level. In section 6.1 the coarse level and the refinement are each a diffusion model, and the pair is called a cascade.
''')

code(r'''
coarse, stage = zoo.load_pixels("pixels_coarse"), stages("coarse", SIZE)
steps = [(16, "4 x 4 grid, one by one"), (19, "to 7 x 7, three stages"), (20, "all: 49 at once"), (21, "49 more"), (22, "the last 49")]
example = x_test[shown[9]]
figure, axes = plt.subplots(1, 6, figsize=(9.2, 2.1))
axes[0].imshow(stage, cmap="cividis")
axes[0].set_title("stage 0 .. 21", fontsize=9)
for axis, (last, title) in zip(axes[1:], steps):
    axis.imshow(np.where((stage < last).numpy(), example.numpy(), np.nan), cmap="gray", vmin=0, vmax=LEVELS - 1)
    axis.set_facecolor(plots.SKY)
    axis.set_title(title, fontsize=8)
for axis in axes:
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
print(f"network for coarse to fine, exact, all 10,000 test pictures: {coarse_card['figures']['exact'][0]:.3f} bits a dimension")
for row in table["scales"]:
    print(f"  {row['scale']:13} {row['pixels']:4d} pixels in {row['calls']:2d} calls: {row['bits_a_pixel'][0]:.2f} bits a pixel")
plt.show()
''', alt="On the left a map of the 22 stages on 14 by 14 pixels. Then an ankle boot, the unknown pixels blue: sixteen scattered pixels, a grid of every second pixel, and three steps in which all the rest is filled in.")

md(r'''
@@COARSETEXT@@

### Explore: in which order, and how far?

Below, a test picture is shown to the network for any order, pixel by pixel (blue is hidden). The second panel is what it expects of the rest, the third how much doubt it has about each hidden pixel, and the last *all hidden pixels drawn at once*, each by itself. Start at 16 pixels and switch the order:
which order tells most about the picture? Then watch the last panel while you show more: where do hidden pixels that are drawn together begin to fit together? Row by row, half the picture leaves the other half open. Coarse to fine, a quarter of the pixels leaves little to guess.
''')

code(r'''
fill_order_explorer(any_net, x_test[[shown[k] for k in (9, 3, 8, 5)]], ["ankle boot", "dress", "bag", "sandal"])
''')

md(r'''
## 6. The next patch by diffusion

So far every pixel had eight levels, and a network could list a probability for each. What if the next piece is a patch of numbers that has no list, such as the latent codes of chapter 6? {cite:t}`li2024mar` keep the order and the context and replace the list by a small diffusion model. Two parts:

- a **trunk**, causal as in section 2, over patches: it turns all patches before number $j$ into a code $z_j$. It is called once a patch;
- a **head**, a small network that denoises *one patch*, told its code: $\hat x_0(x_t, t, z_j)$. It is called once a diffusion step.

The chain rule over patches stays exact. What is only bounded is each patch's own probability, since the head is a diffusion model:

$$
-\log p(x) = -\sum_{j} \log p(u_j \mid z_j) \;\le\; \sum_{j} \Big( L_T + \sum_{t=2}^{T} L_{t-1} + L_0 \Big)_{u_j \mid z_j}
$$ (eq-ar-patch)

with $u_j$ the patches, and in brackets the three kinds of terms of a DDPM bound {cite}`ho2020ddpm`, for data that are one patch. $L_0$ is the probability of a level under a Gaussian, cut into 8 bins: so this bound counts bits of the same 8 levels, and may stand beside the exact values.

Our patches are 2 x 2, and $T = 100$ with the noise levels spaced evenly in log SNR. Mean and variance are learned, and the bound itself is the loss. One detail decides: the head sees each value through sines and cosines whose period is the distance of two levels. In the last steps almost all that matters is *which level is nearest*, and a small network finds that hard to read off one
number {cite}`kingma2021vdm`. The cell computes all terms for 60 pictures.
''')

code(r'''
patch_net, patch_card = zoo.load_patches("pixels_patch"), zoo.read("pixels_patch")[0]
schedule, T = patch_net.schedule, len(patch_net.schedule)
with torch.no_grad():
    some = x_test[:60]
    u, z = patch_net.patches(some).flatten(0, 1), patch_net.codes(some).flatten(0, 1)       # patches and their codes
    denoiser, generator, terms = patch_net.denoiser(), seeded(4), []
    for t in range(1, T + 1):
        u_t = q_sample(schedule, u, t, torch.randn(u.shape, generator=generator))
        term = vlb_term(denoiser(u_t, t, z), schedule, u, t, variance="learned", bins=LEVELS)
        terms.append(float(term.mean()) / (4 * math.log(2)))
    prior = float(vlb_prior(schedule, u).mean()) / (4 * math.log(2))
log_snr = schedule.snr(torch.arange(1, T + 1)).log()
figure, axis = plt.subplots(figsize=(6.4, 3.0))
axis.bar(range(1, T + 1), terms, width=1.0, color=plots.BLUE)
sharp = int((schedule.snr(torch.arange(1, T + 1)).rsqrt() < 1 / (LEVELS - 1)).sum())         # noise below half the distance of two levels
axis.axvline(sharp + 0.5, color=plots.VERMILLION, ls="--")
axis.text(sharp + 2, max(terms), "noise = half the distance of two levels", va="top", color=plots.VERMILLION, fontsize=9)
axis.set(xlabel="time t", ylabel="bits per dimension", xlim=(0, T + 1))
mean, error = patch_card["figures"]["bound"]
print(f"prior {prior:.4f}, the KL terms {sum(terms[1:]):.2f}, decoder {terms[0]:.4f}")
print(f"bound, all 10,000 test pictures: {mean:.3f} bits a dimension (standard error {error:.3f})")
print(f"share of the bits spent at t = 1 .. {sharp}, where the noise is below half the distance of two levels: {sum(terms[:sharp]) / sum(terms):.0%}")
plt.show()
''', alt="Bars of the bound's terms over time t = 1 to 100. They are nearly zero at both ends and rise to a hump in the first half, near a dashed line that marks where the noise is half the distance of two levels.")

md(r'''
@@PATCHTEXT@@

Drawing takes 49 calls of the trunk and $49 \times 100$ of the small head. Below, samples of all four models, none chosen.
''')

code(r'''
n = 8
blank = torch.full((n, SIZE, SIZE), LEVELS)
random_orders = torch.stack([stages("any", SIZE, seeded(k)) for k in range(n)])
drawn = {"raster, 196 calls": sample(raster, blank, stages("raster", SIZE), generator=seeded(5)),
         "any order, 196": sample(any_net, blank, random_orders, generator=seeded(5)),
         "any order, 14": sample(any_net, blank, random_orders // 14, generator=seeded(5)),
         "coarse to fine, 22": sample(coarse, blank, stage, generator=seeded(5)),
         "next patch": sample_patches(patch_net, n, seeded(5)),
         "test pictures": x_test[[17, 230, 411, 605, 888, 1203, 1501, 1777]]}
plots.show_images(to_grey(torch.cat(list(drawn.values())), LEVELS), columns=n, row_titles=list(drawn))
plt.show()
''', alt="Six rows of eight small pictures: samples of the raster network, of the network for any order with 196 and with 14 calls, of the coarse-to-fine network and of the patch model, and test pictures. Most samples can be told as clothes; with 14 calls they are ragged.")

md(r'''
## 7. One table

All four networks saw the same 60,000 training pictures, cut in the same way, and the same 10,000 test pictures. Marks: **=** is exact, **≤** is an upper bound on the bits (the true value of that model may be lower).
''')

code(r'''
rows = [("raster, one pixel at a time", "=", raster_card, "exact", "196"), ("coarse to fine, 22 stages", "=", coarse_card, "exact", "22"),
        ("any order, mixture over orders", "<=", any_card, "any_order", "196"), ("any order, label known", "<=", any_card, "any_order_given_label", "196"),
        ("next patch by diffusion", "<=", patch_card, "bound", "49 + 4,900 small")]
print(f"{'':32}{'bits a dimension':>18}   {'calls to draw':17}{'weights':>9}{'steps':>7}")
for name, sign, card, key, how_many in rows:
    size = sum(v.numel() for v in zoo.read(card["name"])[1].values())
    mean, error = card["figures"][key]
    print(f"{name:32}{sign:>4} {mean:.3f} +- {error:.3f}   {how_many:17}{size:9,}{card['steps']:7,}")
order = sorted(rows, key=lambda row: row[2]["figures"][row[3]][0])
print("fewest bits:", order[0][0], "| of the unconditional ones:", next(row[0] for row in order if row[3] != "any_order_given_label"))
print("\nas published for CIFAR-10, 256 levels, bits a dimension")
for name, value in (("PixelCNN++ (Salimans et al. 2017)", "=  2.92"), ("DDPM (Ho et al. 2020)", "<= 3.75"),
                    ("Improved DDPM (Nichol & Dhariwal 2021)", "<= 2.94"), ("variational diffusion (Kingma et al. 2021)", "<= 2.65")):
    print(f"  {name:44}{value}")
''')

md(r'''
@@TABLETEXT@@
''')

md(r'''
## Quiz

**1.** A network outputs badly wrong conditionals, but each sums to 1. Is its autoregressive $p(x)$ a probability distribution?

```{admonition} Answer
:class: dropdown

Yes, for every order {eq}`eq-ar-chain`. Wrong conditionals give a poor distribution, not an improper one. What may fail is that two orders give the *same* distribution.
```

**2.** The masking chain of section 3 has latents $x_1, \dots, x_T$, like DDPM. Why has its bound no gap?

```{admonition} Answer
:class: dropdown

The gap is a KL to the posterior over the latents. Here $x_0$ determines all of them, so the posterior has a single outcome and $q$ *is* the posterior {eq}`eq-ar-mask-chain`. Gaussian noise is not determined by $x_0$.
```

**3.** You train on masks with $m$ hidden pixels, $m$ uniform, and the loss is the *mean* log probability over hidden pixels, times $D$. Somebody uses the *sum* over hidden pixels instead. Still a bound?

```{admonition} Answer
:class: dropdown

No. The weight must be $D/m$ {eq}`eq-ar-any-order`. The plain sum weighs nearly blank pictures $m/D$ times too little each, reports too few bits, and belongs to no distribution (exercise 2).
```

**4.** A model that reveals 49 pixels at once reports an exact likelihood. How can it be exact, if the pixels depend on each other?

```{admonition} Answer
:class: dropdown

It is the exact likelihood of *that* model, in which they are independent given the earlier ones. The dependence that it ignores is not an error of the number, it makes the number worse {eq}`eq-ar-parallel`.
```

**5.** A friend reports 0.8 bits per dimension on the same data set with 4 grey levels, and has beaten us. Has he?

```{admonition} Answer
:class: dropdown

One cannot say. With fewer levels there is less to predict. Only numbers over one quantisation, one resolution and one test set can be compared.
```

**6.** Knowing the label saves about a hundredth of a bit per dimension. So labels are useless?

```{admonition} Answer
:class: dropdown

For likelihood nearly, since there are only $\log_2 10 = 3.3$ bits in a label {eq}`eq-ar-label`, spread over 196 pixels. For what a picture *shows* they decide everything. Likelihood counts every pixel alike and does not know which bits we care about.
```

## Exercises

Each comes with a function that grades it by properties, so any correct solution passes.
''')

md(r'''
```{exercise-start} A masked model in a table
:label: ex-ar-table
```

Pictures of $n$ black or white pixels. A model is a function `conditional(state, i)` that gives the probability that pixel $i$ is 1, where `state` is a tuple with 0, 1, or `None` for a hidden pixel.

1. Write `log_prob_of(conditional, x, order)`: $\log p(x)$ when the pixels are revealed in that order.
2. Write `exact(joint)`: the conditional function of a joint distribution `{picture: probability}`.

`grade_table` asks: for random conditionals and any order, the probabilities of all $2^n$ pictures sum to 1, and different orders disagree; for an exact joint all orders agree, and give the joint.
''')
code(r'''
def grade_table(log_prob_of, exact):
    generator = seeded(10)
    for n in (2, 3, 4):
        pictures, memory = list(itertools.product((0, 1), repeat=n)), {}

        def wild(state, i):
            key = (state, i)
            if key not in memory:
                memory[key] = float(0.05 + 0.9 * torch.rand((), generator=generator))
            return memory[key]

        weights = torch.rand(2**n, generator=generator, dtype=torch.float64) + 0.05
        joint = dict(zip(pictures, (weights / weights.sum()).tolist()))
        by_order = []
        for order in itertools.permutations(range(n)):
            by_order.append([log_prob_of(wild, x, order) for x in pictures])
            total = sum(map(math.exp, by_order[-1]))
            assert abs(total - 1) < 1e-12, f"n = {n}, order {order}: the probabilities sum to {total:.6f}"
            for x in pictures:
                assert abs(log_prob_of(exact(joint), x, order) - math.log(joint[x])) < 1e-12, f"order {order}: not the joint"
        assert max(abs(a - b) for a, b in zip(by_order[0], by_order[-1])) > 1e-3, "inconsistent conditionals: the orders must differ"
    return "sums to 1 in every order; all orders agree for an exact joint, and only then"
''')
md(r'''
```{exercise-end}
```

````{solution-start} ex-ar-table
:class: dropdown
````

Reveal one pixel after the other, always asking *before* the pixel is revealed.
''')
code(r'''
def log_prob_of(conditional, x, order):
    state, total = [None] * len(x), 0.0
    for i in order:
        p = conditional(tuple(state), i)
        total += math.log(p if x[i] == 1 else 1 - p)
        state[i] = x[i]
    return total


def exact(joint):
    def conditional(state, i):
        fits = {x: p for x, p in joint.items() if all(s is None or s == v for s, v in zip(state, x))}
        return sum(p for x, p in fits.items() if x[i] == 1) / sum(fits.values())
    return conditional
''', nbg=solution("table"))
code(r'''
print(grade_table(log_prob_of, exact))
''', nbg=check("table"))
md(r'''
````{solution-end}
````

```{exercise-start} Find and fix: three likelihoods that are none
:label: ex-ar-bugs
```

Each of these claims to give the likelihood, or the average over orders, for a model that is given as a function `net(state)`: probabilities of shape $(D, K)$ for a picture in which hidden pixels are marked by `K`. Like a trained network, `net` simply repeats a pixel that it can see. Each carries one mistake that is easily made and looks like a *better* model.

1. Find them **by reading**. Which of the three reports far too few bits on every data set?
2. Run the judge. It uses a property that needs no data: for a proper likelihood, $\sum_x p(x) = 1$, and for an average over orders, $\sum_x e^{\mathbb E_\sigma \log p_\sigma(x)} \le 1$ by {eq}`eq-ar-mixture`.
3. Write `mended_order` and `mended_masks`.
''')
code(r'''
def hidden_net(state):
    """p(level | what is shown) from the arbitrary table; a pixel that is shown is repeated with probability .99."""
    p = arbitrary[number[state]].clone()
    for i, v in enumerate(state):
        if v < K:
            p[i] = torch.where(torch.arange(K) == v, 0.99, 0.01 / (K - 1))
    return p


def in_order_a(net, x, order):                     # one call a pixel, in this order
    total, state = 0.0, (K,) * D
    for i in order:
        state = with_pixel(state, i, x[i])
        total += float(net(state)[i, x[i]].log())
    return total


def over_masks_b(net, x):                          # mean over all masks with m hidden, m = 1 .. D
    total = 0.0
    for m in range(1, D + 1):
        masks = list(itertools.combinations(range(D), m))
        for mask in masks:
            p = net(tuple(K if i in mask else v for i, v in enumerate(x)))
            total += sum(float(p[i, x[i]].log()) for i in mask) / (len(masks) * D)
    return total


def over_masks_c(net, x):
    total = 0.0
    for m in range(1, D + 1):
        masks = list(itertools.combinations(range(D), m))
        for mask in masks:
            p = net(tuple(K if i in mask else v for i, v in enumerate(x)))
            total += D / D * sum(float(p[i, x[i]].log()) for i in range(D)) / (len(masks) * D)
    return total


def judge(in_order=None, over_masks=None):
    if in_order is not None:
        totals = [sum(math.exp(in_order(hidden_net, x, order)) for x in PICTURES) for order in orders]
        return {"sums to 1": all(abs(total - 1) < 1e-12 for total in totals), "largest sum": round(max(totals), 3)}
    total = sum(math.exp(over_masks(hidden_net, x)) for x in PICTURES)
    mean = max(abs(over_masks(hidden_net, x) - sum(log_p(arbitrary, x, order) for order in orders) / len(orders)) for x in PICTURES)
    return {"sum at most 1": total <= 1 + 1e-12, "is the mean over orders": mean < 1e-12, "sum": round(total, 3)}


print("A", judge(in_order=in_order_a))
print("B", judge(over_masks=over_masks_b))
print("C", judge(over_masks=over_masks_c))
''')
md(r'''
```{exercise-end}
```

````{solution-start} ex-ar-bugs
:class: dropdown
````

- **A** reveals the pixel *before* it asks. The network only has to copy, and the "likelihood" of every picture is nearly 1: the sum over all pictures is nearly their number. This is what a wrong mask in the first convolution does to a causal network, and it is the one that reports nearly no bits on any data.
- **B** forgets the weight: it adds the log probabilities of the $m$ hidden pixels where $D/m$ times that belongs. Blank pictures, which are hard, count as much as pictures with one hole, and the sum is too large.
- **C** averages over *all* pixels instead of the hidden ones. The shown ones are copied at almost no cost and dilute the loss.

A loss that falls does not show any of these. The judge's question, do the probabilities sum to 1?, does. For a large network one asks it on tiny pictures.
''')
code(r'''
def mended_order(net, x, order):
    total, state = 0.0, (K,) * D
    for i in order:
        total += float(net(state)[i, x[i]].log())
        state = with_pixel(state, i, x[i])
    return total


def mended_masks(net, x):
    total = 0.0
    for m in range(1, D + 1):
        masks = list(itertools.combinations(range(D), m))
        for mask in masks:
            p = net(tuple(K if i in mask else v for i, v in enumerate(x)))
            total += D / m * sum(float(p[i, x[i]].log()) for i in mask) / (len(masks) * D)
    return total
''', nbg=solution("bugs"))
code(r'''
verdict = judge(in_order=mended_order), judge(over_masks=mended_masks)
assert verdict[0]["sums to 1"] and verdict[1]["sum at most 1"] and verdict[1]["is the mean over orders"], verdict
print("mended:", verdict)
''', nbg=check("bugs"))
md(r'''
````{solution-end}
````

```{exercise-start} Fast without loss
:label: ex-ar-fast
```

A row of $n$ black or white pixels is a {term}`Markov chain`: each pixel depends on its left neighbour, and given that, on nothing further left. Drawn from left to right, a sample takes $n$ calls, one pixel each. Drawn all at once it takes one call, and by {eq}`eq-ar-parallel` it loses the total correlation.

1. For $n = 2^k + 1$, find groups of pixels, to be revealed one group a call, such that **nothing is lost** and there are only $k + 2$ calls. Write `groups(n)`: a list of lists of pixel numbers. `grade_groups` tests it.
2. What is it about the data that makes this possible? Why does the same idea lose something on pictures, and why less than random groups do?
''')
code(r'''
def price(joint, parts):
    """Bits that are lost when each part is drawn independently given the parts before; joint has one axis of length 2 a pixel."""
    n = joint.dim()

    def entropy_of(pixels):
        away = [i for i in range(n) if i not in pixels]
        p = joint.sum(away) if away else joint
        return -float(torch.xlogy(p, p).sum()) / math.log(2)

    known, total = set(), 0.0
    for part in parts:
        total += sum(entropy_of(known | {i}) - (entropy_of(known) if known else 0.0) for i in part)
        known |= set(part)
    return total - entropy_of(set(range(n)))


def markov_row(n, generator):
    joint = torch.tensor([0.3, 0.7], dtype=torch.float64)
    for _ in range(n - 1):
        step = 0.1 + 0.8 * torch.rand(2, generator=generator, dtype=torch.float64)
        joint = joint[..., None] * torch.stack([step, 1 - step], 1)
    return joint


def grade_groups(groups):
    for k in (1, 2, 3, 4):
        n, parts = 2**k + 1, groups(2**k + 1)
        assert sorted(i for part in parts for i in part) == list(range(n)), f"n = {n}: every pixel once"
        assert len(parts) <= k + 2, f"n = {n}: {len(parts)} calls"
        lost = price(markov_row(n, seeded(k)), parts)
        assert abs(lost) < 1e-9, f"n = {n}: {lost:.4f} bits are lost"
    return "k + 2 calls, nothing lost"


row = markov_row(9, seeded(3))
print(f"9 pixels: left to right loses {abs(price(row, [[i] for i in range(9)])):.3f} bits in 9 calls, "
      f"all at once {price(row, [list(range(9))]):.3f} in 1, even then odd pixels {price(row, [[0, 2, 4, 6, 8], [1, 3, 5, 7]]):.3f} in 2")
''')
md(r'''
```{exercise-end}
```

````{solution-start} ex-ar-fast
:class: dropdown
````

Reveal the two ends, one after the other; then the middle; then the two quarters, together; then the four eighths, together. Given the middle, what lies to its left does not depend on what lies to its right: so pixels with a known one *between* them may be drawn together at no cost. Each call doubles the grid: coarse to fine.

It works because a single pixel separates left from right completely. In a picture, only a closed curve of known pixels would separate inside from outside; a grid of known pixels, with gaps, separates almost but not quite. What leaks through the gaps is what our 22 stages lose. Random groups put neighbours together now and then, with nothing known between them, and lose more.
''')
code(r'''
def groups(n):
    parts, width = [[0], [n - 1]], n - 1
    while width > 1:
        parts.append(list(range(width // 2, n, width)))
        width //= 2
    return parts
''', nbg=solution("fast"))
code(r'''
print(groups(9))
print(grade_groups(groups))
''', nbg=check("fast"))
md(r'''
````{solution-end}
````

## Summary

- We call a model *denoising autoregressive* if it makes a picture in an order and every step restores something that was destroyed. The term is not standard.
- By the chain rule {eq}`eq-ar-chain`, conditionals that sum to 1 make a proper distribution with an exact likelihood, whatever the order. Bits per dimension compare models over *one* quantisation.
- The chain that hides one pixel a step **is** an autoregressive model: its bound is its likelihood, to twelve digits {eq}`eq-ar-mask-chain`.
- Hiding at random times gives absorbing-state diffusion {eq}`eq-ar-absorbing`; with many steps its bound is the average over all orders {eq}`eq-ar-any-order`, which lies below the mixture's likelihood unless all orders agree {eq}`eq-ar-mixture`. One network then fills any hole.
- Drawing several pixels in a call costs their total correlation {eq}`eq-ar-parallel`. Coarse to fine draws together what depends on each other least.
- A patch can be drawn by a small diffusion model that is told a code of what came before: exact over patches, a bound within {eq}`eq-ar-patch`.

## What is still missing

From here on the noise is Gaussian, and everything is refined at once: [section 3.1](../03_algorithms/01_ddpm.ipynb). How the bound of such a model splits into terms, and why one trains on other weights than the bound's, is section 4.2. Hierarchies return as cascades in section 6.1, latents that have no list of levels in section 7.1, and
absorbing-state diffusion for *text* in section 8.2.

## References

- {cite:t}`oord2016pixelrnn` and {cite:t}`oord2016gated`: masked convolutions, and the blind spot. {cite:t}`salimans2017pixelcnnpp`: the strongest of that line on CIFAR-10.
- {cite:t}`uria2014deep`: one network for all orders, years before diffusion.
- {cite:t}`austin2021d3pm`: diffusion with discrete noise; appendix A.3 has the absorbing state. {cite:t}`hoogeboom2022ardm`: the average over orders, and drawing several pixels at once.
- {cite:t}`ho2020ddpm`, section 4.3: the remark that section 3 makes precise.
- {cite:t}`reed2017multiscale`: coarse to fine in a few calls.
- {cite:t}`li2024mar`: the diffusion head.

The whole list is on the page [References](../../book/references.md).
''')

import re, sys, json, pathlib
TEXT = {}
p = pathlib.Path("..json")
if p.exists(): TEXT = json.loads(p.read_text())
for c in cells:
    for key, value in TEXT.items():
        c.source = c.source.replace(f"@@{key}@@", value)
nb = new_notebook(cells=cells, metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}})
for k, c in enumerate(nb.cells): c["id"] = f"ar-{k:03d}"
out = sys.argv[1]
nbformat.write(nb, out)
words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
print(out, len(cells), "cells", words, "words")
