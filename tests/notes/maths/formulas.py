r"""Formulas of the field as people write them, each with a version that is subtly wrong.

`before` is what the note says earlier: displays, or words with inline formulas.
"""

# ruff: noqa: E501 - a formula is not broken where a line is full

from __future__ import annotations

from typing import NamedTuple


class Formula(NamedTuple):
    name: str
    right: str
    wrong: str
    before: str = ""


SOFTMAX = r"$$p_i = \frac{e^{z_i}}{\sum_k e^{z_k}}$$"

FORMULAS = [
    # --- softmax and its derivative ---
    Formula(
        "softmax against the library",
        r"\mathrm{softmax}(z)_i = \frac{\exp(z_i)}{\sum_{k=1}^n \exp(z_k)}",
        r"\mathrm{softmax}(z)_i = \frac{\exp(z_i)}{\sum_{k=1}^n \exp(z_i)}",
    ),
    Formula(
        "shift invariance",
        r"\operatorname{softmax}(z + c\mathbf{1})_i = \frac{e^{z_i + c}}{\sum_j e^{z_j + c}} = \operatorname{softmax}(z)_i",
        r"\operatorname{softmax}(z + c\mathbf{1})_i = \frac{e^{z_i + c}}{\sum_j e^{z_j}} = \operatorname{softmax}(z)_i",
    ),
    Formula(
        "softmax Jacobian, Kronecker delta",
        r"\frac{\partial p_i}{\partial z_j} = p_i(\delta_{ij} - p_j)",
        r"\frac{\partial p_i}{\partial z_j} = p_i(\delta_{ij} - p_i)",
        SOFTMAX,
    ),
    Formula(
        "softmax Jacobian, cases",
        r"""\frac{\partial p_i}{\partial z_j} = \begin{cases} p_i (1 - p_i) & \text{if } i = j \\
        -p_i p_j & \text{otherwise} \end{cases}""",
        r"""\frac{\partial p_i}{\partial z_j} = \begin{cases} p_i (1 - p_i) & \text{if } i = j \\
        p_i p_j & \text{otherwise} \end{cases}""",
        SOFTMAX,
    ),
    Formula(
        "softmax Jacobian, matrix",
        r"\frac{\partial p}{\partial z} = \operatorname{diag}(p) - p p^\top",
        r"\frac{\partial p}{\partial z} = \operatorname{diag}(p) + p p^\top",
        SOFTMAX,
    ),
    Formula(
        "softmax derivation in steps",
        r"""\begin{align*}
        \frac{\partial}{\partial z_j}\frac{e^{z_i}}{\sum_k e^{z_k}}
        &= \frac{\delta_{ij} e^{z_i} \sum_k e^{z_k} - e^{z_i} e^{z_j}}{\left(\sum_k e^{z_k}\right)^2} \\
        &= \delta_{ij} p_i - p_i p_j
        \end{align*}""",
        r"""\begin{align*}
        \frac{\partial}{\partial z_j}\frac{e^{z_i}}{\sum_k e^{z_k}}
        &= \frac{\delta_{ij} e^{z_i} \sum_k e^{z_k} - e^{z_i} e^{z_j}}{\sum_k e^{z_k}} \\
        &= \delta_{ij} p_i - p_i p_j
        \end{align*}""",
        SOFTMAX,
    ),
    Formula(
        "log softmax",
        r"\log p_i = z_i - \log \sum_k e^{z_k}",
        r"\log p_i = z_i + \log \sum_k e^{z_k}",
        SOFTMAX,
    ),
    Formula(
        "gradient of log softmax",
        r"\frac{\partial \log p_i}{\partial z_j} = \mathbb{1}[i = j] - p_j",
        r"\frac{\partial \log p_i}{\partial z_j} = \mathbb{1}[i = j] - p_i",
        SOFTMAX,
    ),
    Formula(
        "softmax with temperature",
        r"\frac{\partial}{\partial z_j} \frac{e^{z_i / T}}{\sum_k e^{z_k / T}} = \frac{1}{T} q_i (\delta_{ij} - q_j)",
        r"\frac{\partial}{\partial z_j} \frac{e^{z_i / T}}{\sum_k e^{z_k / T}} = q_i (\delta_{ij} - q_j)",
        r"$$q_i := \frac{e^{z_i/T}}{\sum_k e^{z_k/T}}$$",
    ),
    Formula(
        "softmax of two classes",
        r"\frac{e^{a}}{e^{a} + e^{b}} = \frac{1}{1 + e^{-(a - b)}} = \sigma(a - b)",
        r"\frac{e^{a}}{e^{a} + e^{b}} = \frac{1}{1 + e^{a - b}} = \sigma(a - b)",
    ),
    Formula("softmax sums to one", r"\sum_i \mathrm{softmax}(z)_i = 1", r"\sum_i \mathrm{softmax}(z)_i = 2"),
    # --- log-sum-exp ---
    Formula(
        "log-sum-exp against the library",
        r"\mathrm{LSE}(z) = \log \sum_{i} \exp z_i",
        r"\mathrm{LSE}(z) = \sum_{i} \log \exp z_i",
    ),
    Formula(
        "gradient of log-sum-exp",
        r"\nabla_z \operatorname{LSE}(z) = \operatorname{softmax}(z)",
        r"\nabla_z \operatorname{LSE}(z) = -\operatorname{softmax}(z)",
    ),
    Formula(
        "Hessian of log-sum-exp",
        r"\nabla_z^2 \operatorname{LSE}(z) = \operatorname{diag}(p) - p p^T",
        r"\nabla_z^2 \operatorname{LSE}(z) = \operatorname{diag}(p) - p^T p I",
        r"with $p = \operatorname{softmax}(z)$",
    ),
    Formula(
        "Hessian of log-sum-exp, entries",
        r"\frac{\partial^2}{\partial z_i \partial z_j} \log \sum_k e^{z_k} = p_i \delta_{ij} - p_i p_j",
        r"\frac{\partial^2}{\partial z_i \partial z_j} \log \sum_k e^{z_k} = p_i \delta_{ij} - p_i^2",
        SOFTMAX,
    ),
    Formula(
        "shift of log-sum-exp",
        r"\log \sum_{k} e^{z_k} = m + \log \sum_{k} e^{z_k - m}",
        r"\log \sum_{k} e^{z_k} = m + \log \sum_{k} e^{z_k + m}",
        r"$$m = \max_k z_k$$",
    ),
    Formula(
        "bounds of log-sum-exp",
        r"\max_i z_i \leq \log \sum_{i=1}^n e^{z_i} \leq \max_i z_i + \log n",
        r"\max_i z_i \leq \log \sum_{i=1}^n e^{z_i} \leq \max_i z_i + \frac{1}{n}",
    ),
    # --- cross entropy ---
    Formula(
        "cross entropy of logits",
        r"-\sum_i y_i \log p_i = \log \sum_k e^{z_k} - \sum_i y_i z_i",
        r"-\sum_i y_i \log p_i = \log \sum_k e^{z_k} + \sum_i y_i z_i",
        SOFTMAX + "\n\nwhere $\\sum_i y_i = 1$",
    ),
    Formula(
        "gradient of cross entropy",
        r"\frac{\partial L}{\partial z_j} = p_j - y_j",
        r"\frac{\partial L}{\partial z_j} = y_j - p_j",
        SOFTMAX
        + r"""

$$L = -\sum_i y_i \log p_i$$""",
    ),
    Formula(
        "gradient of cross entropy through the chain rule",
        r"""\begin{aligned}
        \frac{\partial L}{\partial z_j} &= \sum_i \frac{\partial L}{\partial p_i} \frac{\partial p_i}{\partial z_j} \\
        &= -\sum_i \frac{y_i}{p_i} p_i (\delta_{ij} - p_j) \\
        &= p_j \sum_i y_i - y_j \\
        &= p_j - y_j
        \end{aligned}""",
        r"""\begin{aligned}
        \frac{\partial L}{\partial z_j} &= \sum_i \frac{\partial L}{\partial p_i} \frac{\partial p_i}{\partial z_j} \\
        &= -\sum_i y_i p_i (\delta_{ij} - p_j) \\
        &= p_j \sum_i y_i - y_j \\
        &= p_j - y_j
        \end{aligned}""",
        SOFTMAX
        + r"""

$$L = -\sum_i y_i \log p_i$$""",
    ),
    Formula(
        "gradient of cross entropy, vectors",
        r"\nabla_{\mathbf{z}} \left( -\mathbf{y}^\top \log \mathrm{softmax}(\mathbf{z}) \right) = \mathrm{softmax}(\mathbf{z}) - \mathbf{y}",
        r"\nabla_{\mathbf{z}} \left( -\mathbf{y}^\top \log \mathrm{softmax}(\mathbf{z}) \right) = \mathbf{y} - \mathrm{softmax}(\mathbf{z})",
        r"$\mathbf{y}$ is one-hot",
    ),
    Formula(
        "cross entropy of one class",
        r"-\log \frac{e^{z_y}}{\sum_{k=1}^{K} e^{z_k}} = -z_y + \log \sum_{k=1}^{K} e^{z_k}",
        r"-\log \frac{e^{z_y}}{\sum_{k=1}^{K} e^{z_k}} = -z_y - \log \sum_{k=1}^{K} e^{z_k}",
    ),
    Formula(
        "gradient of cross entropy of one class",
        r"\frac{\partial}{\partial z_k} (-\log p_y) = p_k - \mathbb{1}\{k = y\}",
        r"\frac{\partial}{\partial z_k} (-\log p_y) = p_y - \mathbb{1}\{k = y\}",
        SOFTMAX,
    ),
    Formula(
        "binary cross entropy, derivative",
        r"\frac{d}{dz} \left[ -y \log \sigma(z) - (1 - y) \log(1 - \sigma(z)) \right] = \sigma(z) - y",
        r"\frac{d}{dz} \left[ -y \log \sigma(z) - (1 - y) \log(1 - \sigma(z)) \right] = \sigma(z) + y",
    ),
    Formula(
        "label smoothing",
        r"-\sum_k \left( (1 - \epsilon) y_k + \frac{\epsilon}{K} \right) \log p_k"
        r" = -(1 - \epsilon) \sum_{k=1}^K y_k \log p_k - \frac{\epsilon}{K} \sum_{k=1}^K \log p_k",
        r"-\sum_k \left( (1 - \epsilon) y_k + \frac{\epsilon}{K} \right) \log p_k"
        r" = -(1 - \epsilon) \sum_{k=1}^K y_k \log p_k - \epsilon \sum_{k=1}^K \log p_k",
    ),
    # --- the logistic function ---
    Formula(
        "derivative of the logistic function",
        r"\sigma'(x) = \sigma(x)(1 - \sigma(x))",
        r"\sigma'(x) = \sigma(x)(1 + \sigma(x))",
        r"$$\sigma(x) = \frac{1}{1 + e^{-x}}$$",
    ),
    Formula(
        "derivative of the logistic function in steps",
        r"\frac{d}{dx} \frac{1}{1+e^{-x}} = \frac{e^{-x}}{(1+e^{-x})^2} = \sigma(x) \cdot (1 - \sigma(x))",
        r"\frac{d}{dx} \frac{1}{1+e^{-x}} = \frac{-e^{-x}}{(1+e^{-x})^2} = \sigma(x) \cdot (1 - \sigma(x))",
    ),
    Formula("symmetry of the logistic function", r"1 - \sigma(x) = \sigma(-x)", r"1 - \sigma(x) = -\sigma(x)"),
    Formula(
        "logistic function and tanh",
        r"\sigma(x) = \frac{1}{2}\left(1 + \tanh \frac{x}{2}\right)",
        r"\sigma(x) = \frac{1}{2}\left(1 + \tanh x\right)",
        r"$$\sigma(x) = \frac{1}{1 + e^{-x}}$$",
    ),
    Formula(
        "logit inverts the logistic function",
        r"\log \frac{\sigma(x)}{1 - \sigma(x)} = x",
        r"\log \frac{1 - \sigma(x)}{\sigma(x)} = x",
    ),
    Formula("derivative of tanh", r"\frac{d}{dx} \tanh x = 1 - \tanh^2 x", r"\frac{d}{dx} \tanh x = 1 - \tanh x"),
    Formula(
        "derivative of softplus",
        r"\frac{d}{dx} \log(1 + e^x) = \frac{e^x}{1 + e^x} = \frac{1}{1 + e^{-x}}",
        r"\frac{d}{dx} \log(1 + e^x) = \frac{1}{1 + e^x}",
    ),
    # --- likelihoods ---
    Formula(
        "gradient of the logistic log-likelihood",
        r"\nabla_w \sum_{i=1}^n \left[ y_i \log \sigma(w^\top x_i) + (1 - y_i) \log (1 - \sigma(w^\top x_i)) \right]"
        r" = \sum_{i=1}^n (y_i - \sigma(w^\top x_i)) x_i",
        r"\nabla_w \sum_{i=1}^n \left[ y_i \log \sigma(w^\top x_i) + (1 - y_i) \log (1 - \sigma(w^\top x_i)) \right]"
        r" = \sum_{i=1}^n (y_i - \sigma(w^\top x_i)) w",
    ),
    Formula(
        "Hessian of the logistic loss",
        r"\nabla_w^2 \sum_{i=1}^n \log(1 + e^{w^\top x_i}) = \sum_{i=1}^n \sigma(w^\top x_i)(1 - \sigma(w^\top x_i)) x_i x_i^\top",
        r"\nabla_w^2 \sum_{i=1}^n \log(1 + e^{w^\top x_i}) = \sum_{i=1}^n \sigma(w^\top x_i) x_i x_i^\top",
    ),
    Formula(
        "multinomial log-likelihood",
        r"\log \prod_{n=1}^N \prod_{k=1}^K p_{nk}^{t_{nk}} = \sum_{n=1}^N \sum_{k=1}^K t_{nk} \log p_{nk}",
        r"\log \prod_{n=1}^N \prod_{k=1}^K p_{nk}^{t_{nk}} = \sum_{n=1}^N \sum_{k=1}^K p_{nk} \log t_{nk}",
    ),
    Formula(
        "gradient of the multinomial loss",
        r"\frac{\partial}{\partial w_{kj}} \left[ \log \sum_l \exp\Big(\sum_m w_{lm} x_m\Big) - \sum_m w_{cm} x_m \right]"
        r" = \left( \frac{\exp(\sum_m w_{km} x_m)}{\sum_l \exp(\sum_m w_{lm} x_m)} - \delta_{kc} \right) x_j",
        r"\frac{\partial}{\partial w_{kj}} \left[ \log \sum_l \exp\Big(\sum_m w_{lm} x_m\Big) - \sum_m w_{cm} x_m \right]"
        r" = \left( \frac{\exp(\sum_m w_{km} x_m)}{\sum_l \exp(\sum_m w_{lm} x_m)} - \delta_{kj} \right) x_j",
    ),
    Formula(
        "Bernoulli log-likelihood",
        r"\log \prod_{i=1}^n \theta^{x_i} (1 - \theta)^{1 - x_i} = \sum_{i=1}^n x_i \log \theta + \sum_{i=1}^n (1 - x_i) \log (1 - \theta)",
        r"\log \prod_{i=1}^n \theta^{x_i} (1 - \theta)^{1 - x_i} = \sum_{i=1}^n x_i \log \theta + \sum_{i=1}^n x_i \log (1 - \theta)",
    ),
    Formula(
        "score of the Bernoulli likelihood",
        r"\frac{d}{d\theta} \left[ k \log \theta + (n - k) \log(1 - \theta) \right] = \frac{k}{\theta} - \frac{n - k}{1 - \theta}",
        r"\frac{d}{d\theta} \left[ k \log \theta + (n - k) \log(1 - \theta) \right] = \frac{k}{\theta} + \frac{n - k}{1 - \theta}",
    ),
    Formula(
        "Gaussian log-likelihood",
        r"\sum_{i=1}^n \log \mathcal{N}(x_i \mid \mu, \sigma^2) = -\frac{n}{2} \log(2\pi\sigma^2) - \frac{1}{2\sigma^2} \sum_{i=1}^n (x_i - \mu)^2",
        r"\sum_{i=1}^n \log \mathcal{N}(x_i \mid \mu, \sigma^2) = -\frac{n}{2} \log(2\pi\sigma) - \frac{1}{2\sigma^2} \sum_{i=1}^n (x_i - \mu)^2",
    ),
    # --- entropy and divergence ---
    Formula("entropy", r"H(p) = -\sum_i p_i \log p_i", r"H(p) = \sum_i p_i \log p_i"),
    Formula(
        "divergence as a difference",
        r"D_{KL}(p \| q) = \sum_i p_i \log \frac{p_i}{q_i} = H(p, q) - H(p)",
        r"D_{KL}(p \| q) = \sum_i p_i \log \frac{p_i}{q_i} = H(p) - H(p, q)",
    ),
    Formula(
        "divergence against its definition",
        r"D_{\mathrm{KL}}(P \parallel Q) = \sum_x P(x) \log \frac{P(x)}{Q(x)} = -\sum_x P(x) \log \frac{Q(x)}{P(x)}",
        r"D_{\mathrm{KL}}(P \parallel Q) = \sum_x P(x) \log \frac{P(x)}{Q(x)} = \sum_x P(x) \log \frac{Q(x)}{P(x)}",
    ),
    Formula("divergence is not negative", r"\mathrm{KL}(p \| q) \ge 0", r"\mathrm{KL}(p \| q) \le 0"),
    Formula(
        "entropy is at most log n",
        r"-\sum_{i=1}^n p_i \log p_i \le \log n",
        r"-\sum_{i=1}^n p_i \log p_i \le \log n - 1",
    ),
    Formula(
        "entropy of the softmax",
        r"-\sum_i p_i \log p_i = \log \sum_k e^{z_k} - \sum_i p_i z_i",
        r"-\sum_i p_i \log p_i = \log \sum_k e^{z_k} + \sum_i p_i z_i",
        SOFTMAX,
    ),
    Formula(
        "mutual information",
        r"\sum_{x, y} p(x, y) \log \frac{p(x, y)}{p(x) p(y)} = \sum_{x,y} p(x,y) \log \frac{p(y \mid x)}{p(y)}",
        r"\sum_{x, y} p(x, y) \log \frac{p(x, y)}{p(x) p(y)} = \sum_{x,y} p(x,y) \log \frac{p(y \mid x)}{p(x)}",
    ),
    Formula(
        "binary entropy, derivative",
        r"\frac{d}{dp} \left( -p \log p - (1-p) \log(1-p) \right) = \log \frac{1-p}{p}",
        r"\frac{d}{dp} \left( -p \log p - (1-p) \log(1-p) \right) = \log \frac{p}{1-p}",
    ),
    # --- Gaussian densities ---
    Formula(
        "normal density integrates to one",
        r"\int_{-\infty}^{\infty} \frac{1}{\sqrt{2\pi\sigma^2}} e^{-\frac{(x-\mu)^2}{2\sigma^2}} \, dx = 1",
        r"\int_{-\infty}^{\infty} \frac{1}{\sqrt{2\pi\sigma}} e^{-\frac{(x-\mu)^2}{2\sigma^2}} \, dx = 1",
    ),
    Formula(
        "Gaussian integral",
        r"\int_{-\infty}^\infty e^{-x^2} dx = \sqrt{\pi}",
        r"\int_{-\infty}^\infty e^{-x^2} dx = \sqrt{2\pi}",
    ),
    Formula(
        "normal density against its definition",
        r"\mathcal{N}(x; \mu, \sigma^2) = \frac{1}{\sigma \sqrt{2\pi}} \exp\left( -\frac{1}{2} \left( \frac{x - \mu}{\sigma} \right)^2 \right)",
        r"\mathcal{N}(x; \mu, \sigma^2) = \frac{1}{\sigma \sqrt{2\pi}} \exp\left( -\frac{1}{2} \frac{x - \mu}{\sigma} \right)",
    ),
    Formula(
        "score of the normal density",
        r"\frac{\partial}{\partial \mu} \log \mathcal{N}(x; \mu, \sigma^2) = \frac{x - \mu}{\sigma^2}",
        r"\frac{\partial}{\partial \mu} \log \mathcal{N}(x; \mu, \sigma^2) = \frac{x - \mu}{\sigma}",
    ),
    Formula(
        "multivariate normal density",
        r"\log \mathcal{N}(\mathbf{x} \mid \boldsymbol{\mu}, \boldsymbol{\Sigma}) = -\frac{1}{2} (\mathbf{x} - \boldsymbol{\mu})^\top"
        r" \boldsymbol{\Sigma}^{-1} (\mathbf{x} - \boldsymbol{\mu}) - \frac{1}{2} \log \det (2\pi \boldsymbol{\Sigma})",
        r"\log \mathcal{N}(\mathbf{x} \mid \boldsymbol{\mu}, \boldsymbol{\Sigma}) = -\frac{1}{2} (\mathbf{x} - \boldsymbol{\mu})^\top"
        r" \boldsymbol{\Sigma}^{-1} (\mathbf{x} - \boldsymbol{\mu}) - \log \det (2\pi \boldsymbol{\Sigma})",
    ),
    Formula(
        "mean of the normal distribution",
        r"\int_{-\infty}^\infty x \frac{1}{\sqrt{2\pi}\sigma} \exp\left(-\frac{(x-\mu)^2}{2\sigma^2}\right) dx = \mu",
        r"\int_{-\infty}^\infty x \frac{1}{\sqrt{2\pi}\sigma} \exp\left(-\frac{(x-\mu)^2}{2\sigma^2}\right) dx = \sigma",
    ),
    Formula(
        "completing the square",
        r"a x^2 + b x + c = a \left( x + \frac{b}{2a} \right)^2 + c - \frac{b^2}{4a}",
        r"a x^2 + b x + c = a \left( x + \frac{b}{2a} \right)^2 + c - \frac{b^2}{2a}",
    ),
    # --- calculus ---
    Formula("product rule", r"(f(x) g(x))' = f'(x) g(x) + f(x) g'(x)", r"(f(x) g(x))' = f'(x) g(x) - f(x) g'(x)"),
    Formula(
        "product rule, Leibniz",
        r"\frac{d}{dx} \left[ f(x) g(x) \right] = f'(x) g(x) + f(x) g'(x)",
        r"\frac{d}{dx} \left[ f(x) g(x) \right] = f'(x) g'(x)",
    ),
    Formula(
        "chain rule",
        r"\frac{d}{dx} f(g(x)) = f'(g(x)) \, g'(x)",
        r"\frac{d}{dx} f(g(x)) = f'(g(x)) \, f'(x)",
    ),
    Formula(
        "chain rule with named functions",
        r"\frac{dy}{dx} = \frac{dy}{du} \cdot \frac{du}{dx}",
        r"\frac{dy}{dx} = \frac{dy}{du} + \frac{du}{dx}",
        "$$y = f(u), \\qquad u = g(x)$$",
    ),
    Formula(
        "quotient rule",
        r"\frac{d}{dx} \frac{f(x)}{g(x)} = \frac{f'(x) g(x) - f(x) g'(x)}{g(x)^2}",
        r"\frac{d}{dx} \frac{f(x)}{g(x)} = \frac{f'(x) g(x) + f(x) g'(x)}{g(x)^2}",
    ),
    Formula(
        "logarithmic derivative",
        r"\frac{\partial}{\partial \theta} \log f(\theta) = \frac{1}{f(\theta)} \frac{\partial f(\theta)}{\partial \theta}",
        r"\frac{\partial}{\partial \theta} \log f(\theta) = \frac{1}{\theta} \frac{\partial f(\theta)}{\partial \theta}",
    ),
    Formula("power rule", r"\frac{d}{dx} x^n = n x^{n-1}", r"\frac{d}{dx} x^n = n x^{n+1}"),
    Formula(
        "geometric sum", r"\sum_{k=0}^{n-1} r^k = \frac{1 - r^n}{1 - r}", r"\sum_{k=0}^{n} r^k = \frac{1 - r^n}{1 - r}"
    ),
    Formula("sum of the first numbers", r"\sum_{k=1}^n k = \frac{n(n+1)}{2}", r"\sum_{k=1}^n k = \frac{n(n-1)}{2}"),
    Formula("exponential series", r"\sum_{k=0}^\infty \frac{x^k}{k!} = e^x", r"\sum_{k=1}^\infty \frac{x^k}{k!} = e^x"),
    Formula(
        "Taylor coefficients by definition",
        r"\binom{n}{k} = \frac{n!}{k!\,(n-k)!}",
        r"\binom{n}{k} = \frac{n!}{k!}",
    ),
    Formula(
        "derivative of the norm",
        r"\nabla_x \|x\|_2 = \frac{x}{\|x\|_2}",
        r"\nabla_x \|x\|_2 = \frac{x}{\|x\|_2^2}",
    ),
    # --- linear models ---
    Formula(
        "gradient of least squares",
        r"\nabla_w \|Xw - y\|^2 = 2 X^\top (Xw - y)",
        r"\nabla_w \|Xw - y\|^2 = 2 X (Xw - y)",
    ),
    Formula(
        "expansion of least squares",
        r"\begin{split} \| \mathbf{y} - \mathbf{X} \boldsymbol{\beta} \|^2 &= (\mathbf{y} - \mathbf{X}\boldsymbol{\beta})^T (\mathbf{y} - \mathbf{X}\boldsymbol{\beta}) \\"
        r" &= \mathbf{y}^T \mathbf{y} - 2 \boldsymbol{\beta}^T \mathbf{X}^T \mathbf{y} + \boldsymbol{\beta}^T \mathbf{X}^T \mathbf{X} \boldsymbol{\beta} \end{split}",
        r"\begin{split} \| \mathbf{y} - \mathbf{X} \boldsymbol{\beta} \|^2 &= (\mathbf{y} - \mathbf{X}\boldsymbol{\beta})^T (\mathbf{y} - \mathbf{X}\boldsymbol{\beta}) \\"
        r" &= \mathbf{y}^T \mathbf{y} - \boldsymbol{\beta}^T \mathbf{X}^T \mathbf{y} + \boldsymbol{\beta}^T \mathbf{X}^T \mathbf{X} \boldsymbol{\beta} \end{split}",
    ),
    Formula(
        "normal equations",
        r"X^\top X \hat{w} = X^\top y",
        r"X^\top X \hat{w} = X y",
        r"$$\hat{w} = (X^\top X)^{-1} X^\top y$$",
    ),
    Formula(
        "ridge regression",
        r"\nabla_w \left( \|Xw - y\|^2 + \lambda \|w\|^2 \right) = 2 X^\top X w - 2 X^\top y + 2 \lambda w",
        r"\nabla_w \left( \|Xw - y\|^2 + \lambda \|w\|^2 \right) = 2 X^\top X w - 2 X^\top y + \lambda w",
    ),
    Formula(
        "derivative of the squared error, entries",
        r"\frac{\partial}{\partial w_j} \frac{1}{2} \sum_{i=1}^n \Big( \sum_{k=1}^d x_{ik} w_k - y_i \Big)^2 = \sum_{i=1}^n \Big( \sum_{k=1}^d x_{ik} w_k - y_i \Big) x_{ij}",
        r"\frac{\partial}{\partial w_j} \frac{1}{2} \sum_{i=1}^n \Big( \sum_{k=1}^d x_{ik} w_k - y_i \Big)^2 = \sum_{i=1}^n \Big( \sum_{k=1}^d x_{ik} w_k - y_i \Big) w_j",
    ),
    Formula(
        "gradient of a quadratic form",
        r"\nabla_x (x^\top A x) = (A + A^\top) x",
        r"\nabla_x (x^\top A x) = (A - A^\top) x",
    ),
    Formula(
        "gradient of a symmetric quadratic form",
        r"\frac{\partial}{\partial \mathbf{x}} \mathbf{x}^\top \mathbf{A} \mathbf{x} = 2 \mathbf{A} \mathbf{x}",
        r"\frac{\partial}{\partial \mathbf{x}} \mathbf{x}^\top \mathbf{A} \mathbf{x} = \mathbf{A} \mathbf{x}",
        r"for symmetric $\mathbf{A}$",
    ),
    Formula("transposed product", r"(AB)^\top = B^\top A^\top", r"(AB)^\top = A^\top B^\top"),
    Formula(
        "trace of a product",
        r"\operatorname{tr}(AB) = \operatorname{tr}(BA)",
        r"\operatorname{tr}(AB) = \operatorname{tr}(A) \operatorname{tr}(B)",
    ),
    Formula(
        "inverse of a product",
        r"(AB)^{-1} = B^{-1} A^{-1}",
        r"(AB)^{-1} = A^{-1} B^{-1}",
        r"$A, B \in \mathbb{R}^{n \times n}$",
    ),
    # --- probability ---
    Formula(
        "Bayes' rule", r"P(A \mid B) = \frac{P(B \mid A) P(A)}{P(B)}", r"P(A \mid B) = \frac{P(B \mid A) P(B)}{P(A)}"
    ),
    Formula(
        "Bayes' rule for classes",
        r"P(y = k \mid x) = \frac{p(x \mid y = k) P(y = k)}{\sum_j p(x \mid y = j) P(y = j)}",
        r"p(y \mid x) = \frac{p(x \mid y) p(x)}{\sum_{y} p(x \mid y) p(y)}",
    ),
    Formula(
        "total probability",
        r"p(x) = \sum_y p(x \mid y) p(y)",
        r"p(x) = \sum_y p(x \mid y) p(x)",
    ),
    Formula("complement", r"P(B) = P(B|A)P(A) + P(B|A^c)P(A^c)", r"P(B) = P(B|A)P(A) + P(B|A^c)P(A)"),
    Formula(
        "variance",
        r"\operatorname{Var}(X) = \mathbb{E}[X^2] - \mathbb{E}[X]^2",
        r"\operatorname{Var}(X) = \mathbb{E}[X]^2 - \mathbb{E}[X^2]",
    ),
    Formula(
        "variance of a linear function",
        r"\mathrm{Var}(aX + b) = a^2 \mathrm{Var}(X)",
        r"\mathrm{Var}(aX + b) = a \mathrm{Var}(X) + b",
    ),
    Formula(
        "variance of a sum",
        r"\mathrm{Var}(X + Y) = \mathrm{Var}(X) + \mathrm{Var}(Y) + 2\,\mathrm{Cov}(X, Y)",
        r"\mathrm{Var}(X + Y) = \mathrm{Var}(X) + \mathrm{Var}(Y) + \mathrm{Cov}(X, Y)",
    ),
    Formula(
        "linearity of the expectation",
        r"\mathbb{E}[aX + bY] = a \mathbb{E}[X] + b \mathbb{E}[Y]",
        r"\mathbb{E}[aX + bY] = a \mathbb{E}[X] + \mathbb{E}[Y]",
    ),
    Formula(
        "bias and variance",
        r"\mathbb{E}\left[(X - c)^2\right] = \mathrm{Var}(X) + (\mathbb{E}[X] - c)^2",
        r"\mathbb{E}\left[(X - c)^2\right] = \mathrm{Var}(X) - (\mathbb{E}[X] - c)^2",
    ),
    Formula(
        "expectation under a pmf",
        r"\mathbb{E}_{x \sim p}[\log p(x) - \log q(x)] = \sum_x p(x) \log \frac{p(x)}{q(x)}",
        r"\mathbb{E}_{x \sim p}[\log p(x) - \log q(x)] = \sum_x q(x) \log \frac{p(x)}{q(x)}",
    ),
    Formula(
        "sum of deviations",
        r"\sum_{i=1}^n (x_i - \bar{x})^2 = \sum_{i=1}^n x_i^2 - n \bar{x}^2",
        r"\sum_{i=1}^n (x_i - \bar{x})^2 = \sum_{i=1}^n x_i^2 - \bar{x}^2",
        r"$$\bar{x} = \frac{1}{n} \sum_{i=1}^n x_i$$",
    ),
    # --- numbers ---
    Formula("digits of a logarithm", r"\log 10 \approx 2.303", r"\log 10 \approx 2.313"),
    Formula("a sum of fractions", r"\frac12 + \frac13 = \frac56", r"\frac12 + \frac13 = \frac25"),
]
