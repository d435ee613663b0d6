"""What PyTorch's losses, transformers' schedules and scikit-learn's scores are, for the tests of the training options.

    python goldens/training_goldens.py     writes goldens/training/*.json anew

Losses and their gradients are computed in float64. Needs the packages of README.md, and scikit-learn.
"""
import json
import os
import random
import warnings

import numpy
import torch
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight
from transformers import get_scheduler

warnings.filterwarnings("ignore")
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "training")


def number(generator):
    # Few digits, exact in float32.
    return generator.randrange(-512, 513) / 128


def cross_entropies():
    generator = random.Random(1)
    cases = []
    for rows, classes in [(4, 3), (1, 2), (6, 5)]:
        logits = [[number(generator) for _ in range(classes)] for _ in range(rows)]
        labels = [generator.randrange(classes) for _ in range(rows)]
        for weights in [None, [generator.randrange(1, 17) / 4 for _ in range(classes)]]:
            for smoothing in [0.0, 0.125, 0.5]:
                z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
                weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
                loss = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing)(z, torch.tensor(labels))
                loss.backward()
                cases.append({"logits": logits, "labels": labels, "weights": weights, "smoothing": smoothing,
                              "loss": loss.item(), "gradient": z.grad.tolist()})
    return cases


def binary_cross_entropies():
    generator = random.Random(2)
    cases = []
    for rows, labels in [(4, 3), (1, 1), (5, 4)]:
        logits = [[number(generator) for _ in range(labels)] for _ in range(rows)]
        targets = [[float(generator.randrange(2)) for _ in range(labels)] for _ in range(rows)]
        for weights in [None, [generator.randrange(1, 33) / 4 for _ in range(labels)]]:
            z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
            weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
            loss = torch.nn.BCEWithLogitsLoss(pos_weight=weight)(z, torch.tensor(targets, dtype=torch.float64))
            loss.backward()
            cases.append({"logits": logits, "targets": targets, "weights": weights, "loss": loss.item(),
                          "gradient": z.grad.tolist()})
    return cases


def schedules():
    cases = []
    names = ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"]
    for name in names:
        for warmup, total in [(0, 10), (3, 10), (10, 10), (1, 1), (4, 23)]:
            optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
            schedule = get_scheduler(name, optimiser, num_warmup_steps=warmup, num_training_steps=total)
            factors = []
            for _ in range(total):
                factors.append(optimiser.param_groups[0]["lr"] / 2e-4)
                optimiser.step()
                try:
                    schedule.step()
                except ZeroDivisionError:
                    break
            cases.append({"name": name, "warmup": warmup, "total": total, "learning_rate": 2e-4, "factors": factors})
    return cases


def class_weights():
    cases = []
    for labels in [[0, 0, 0, 1], [2, 0, 1, 1, 2, 2, 2], [0, 1]]:
        classes = numpy.unique(labels)
        weights = compute_class_weight("balanced", classes=classes, y=labels)
        cases.append({"labels": labels, "weights": weights.tolist()})
    return cases


def classification_scores():
    generator = random.Random(3)
    cases = []
    for rows, classes in [(12, 2), (15, 2), (20, 3), (30, 4)]:
        labels = [generator.randrange(classes) for _ in range(rows)]
        # Coarse, so that there are ties.
        logits = [[generator.randrange(-8, 9) / 4 for _ in range(classes)] for _ in range(rows)]
        probabilities = torch.tensor(logits, dtype=torch.float64).softmax(-1).numpy()
        predictions = [max(range(classes), key=lambda c: (row[c], -c)) for row in logits]
        zero = {"zero_division": 0}
        scores = {
            "accuracy": metrics.accuracy_score(labels, predictions),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, predictions),
            "f1_macro": metrics.f1_score(labels, predictions, average="macro", **zero),
            "f1_micro": metrics.f1_score(labels, predictions, average="micro", **zero),
            "f1_weighted": metrics.f1_score(labels, predictions, average="weighted", **zero),
            "precision_macro": metrics.precision_score(labels, predictions, average="macro", **zero),
            "recall_macro": metrics.recall_score(labels, predictions, average="macro", **zero),
            "matthews_correlation": metrics.matthews_corrcoef(labels, predictions),
        }
        if classes == 2:
            margins = [row[1] - row[0] for row in logits]
            scores["auc"] = metrics.roc_auc_score(labels, margins)
            for name, score in [("f1", metrics.f1_score), ("precision", metrics.precision_score),
                                ("recall", metrics.recall_score)]:
                scores[name] = score(labels, predictions, **zero)
                scores[f"{name}:label 0"] = score(labels, predictions, pos_label=0, **zero)
        else:
            scores["auc"] = metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
            each = metrics.f1_score(labels, predictions, average=None, **zero)
            scores.update({f"f1:label {label}": score for label, score in enumerate(each)})
        cases.append({"labels": labels, "logits": logits, "scores": scores})
    return cases


def label_set_scores():
    generator = random.Random(4)
    cases = []
    for rows, labels in [(10, 3), (25, 5)]:
        truth = numpy.array([[generator.randrange(2) for _ in range(labels)] for _ in range(rows)])
        logits = [[generator.randrange(-8, 9) / 4 for _ in range(labels)] for _ in range(rows)]
        predictions = (numpy.array(logits) > 0).astype(int)
        zero = {"zero_division": 0}
        scores = {f"{name}_{average}": score(truth, predictions, average=average, **zero)
                  for name, score in [("f1", metrics.f1_score), ("precision", metrics.precision_score),
                                      ("recall", metrics.recall_score)]
                  for average in ["micro", "macro"]}
        scores["f1_weighted"] = metrics.f1_score(truth, predictions, average="weighted", **zero)
        scores["exact_match"] = metrics.accuracy_score(truth, predictions)
        scores["auc"] = metrics.roc_auc_score(truth, numpy.array(logits), average="macro")
        each = metrics.f1_score(truth, predictions, average=None, **zero)
        scores.update({f"f1:label {label}": score for label, score in enumerate(each)})
        cases.append({"truth": truth.tolist(), "logits": logits, "scores": scores})
    return cases


def regression_scores():
    generator = random.Random(5)
    cases = []
    for rows, scale in [(8, 1.0), (20, 1024.0)]:
        truth = [number(generator) * scale for _ in range(rows)]
        predictions = [value + number(generator) * scale / 4 for value in truth]
        cases.append({"truth": truth, "predictions": predictions, "scores": {
            "mse": metrics.mean_squared_error(truth, predictions),
            "rmse": metrics.root_mean_squared_error(truth, predictions),
            "mae": metrics.mean_absolute_error(truth, predictions),
            "r2": metrics.r2_score(truth, predictions),
        }})
    return cases


def write(name, cases):
    with open(os.path.join(FOLDER, name + ".json"), "w") as out:
        lines = (json.dumps(case, separators=(",", ":")) for case in cases)
        out.write("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    write("cross_entropy", cross_entropies())
    write("binary_cross_entropy", binary_cross_entropies())
    write("schedules", schedules())
    write("class_weights", class_weights())
    write("classification_scores", classification_scores())
    write("label_set_scores", label_set_scores())
    write("regression_scores", regression_scores())
