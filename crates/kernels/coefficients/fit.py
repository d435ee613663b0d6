"""Fits the polynomials of src/elementary.rs and prints their coefficients, highest power first.

Each is a minimax fit in relative or absolute error by iteratively re-weighted least squares at
Chebyshev nodes, in 60-digit arithmetic. Needs only `pip install mpmath`. Run: python fit.py
"""
from mpmath import mp, mpf, cos, exp, erf, erfc, tanh, log, pi, matrix, lu_solve, sqrt

mp.dps = 60


def fit(name, f, lo, hi, degree, weight, first=0):
    """Polynomial sum c_i x^i, i = first..degree, that minimises max |weight(x) (p(x) - f(x))|."""
    n = 40 * (degree + 1)
    xs = [(mpf(lo) + hi) / 2 + (mpf(hi) - lo) / 2 * cos(pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    powers = range(first, degree + 1)
    w = [mpf(1)] * n
    for _ in range(60):
        a, b = matrix(len(powers), len(powers)), matrix(len(powers), 1)
        for x, wi in zip(xs, w):
            row = [weight(x) * x**p for p in powers]
            target = weight(x) * f(x)
            for i in range(len(powers)):
                b[i] += wi * row[i] * target
                for j in range(len(powers)):
                    a[i, j] += wi * row[i] * row[j]
        c = lu_solve(a, b)
        err = [abs(weight(x) * (sum(c[i] * x**p for i, p in enumerate(powers)) - f(x))) for x in xs]
        worst = max(err)
        w = [wi * (e / worst + mpf("1e-3")) for wi, e in zip(w, err)]
        total = sum(w)
        w = [wi / total for wi in w]
    print(f"{name}: worst weighted error {mp.nstr(worst, 3)}")
    for i in reversed(range(len(powers))):
        print(f"    {mp.nstr(c[i], 10)},  // x^{powers[i]}")


half_ln2 = log(2) / 2
fit("exp: (e^x - 1 - x) / x^2", lambda x: (exp(x) - 1 - x) / x**2 if x else mpf(1) / 2, -half_ln2, half_ln2, 4, lambda x: x**2 / exp(x))
fit("tanh: (tanh(sqrt s)/sqrt s - 1)/s", lambda s: (tanh(sqrt(s)) / sqrt(s) - 1) / s, mpf("1e-6"), mpf("0.4"), 5, lambda s: s)
fit("erf: erf(sqrt s)/sqrt s", lambda s: erf(sqrt(s)) / sqrt(s), mpf("1e-8"), mpf("0.93") ** 2, 6, lambda s: sqrt(s) / erf(sqrt(s)))
fit("erf: log(erfc(x)) / x", lambda x: log(erfc(x)) / x, mpf("0.92"), mpf("4"), 7, lambda x: x * erfc(x) / erf(x))
fall = mpf("0.55")
of_u = lambda u: (1 / u - 1) / fall
fit("erfc(t) e^(t^2) / u for u = 1 / (1 + 0.55 t)", lambda u: exp(of_u(u) ** 2) * erfc(of_u(u)) / u, 1 / (1 + 5 * fall), 1, 5, lambda u: u * exp(-of_u(u) ** 2))
