"""Independent checks, made while the goldens are: a golden that fails one is never written."""
import torch

from storage import relative_error


def padded(rows):
    """The rows as one batch with padding and its mask."""
    longest = max(len(ids) for ids, _ in rows)
    # Any ordinary id will do where the mask is 0: the padding id would shift RoBERTa's positions.
    ids = torch.tensor([ids + [7] * (longest - len(ids)) for ids, _ in rows])
    types = torch.tensor([types + [0] * (longest - len(types)) for _, types in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in rows])
    return ids, types, mask


def check_padding(model, rows, last, has_types):
    """Rows computed alone equal the rows of one padded batch."""
    ids, types, mask = padded(rows)
    arguments = {"input_ids": ids, "attention_mask": mask}
    if has_types:
        arguments["token_type_ids"] = types
    with torch.no_grad():
        batch = model(**arguments).last_hidden_state
    error = relative_error(batch[mask.bool()], last)
    assert error < 1e-10, f"padded rows are off by {error}"


def check_gradient(model, layer, rows, has_types, functional, gradient):
    """The gradient along a random direction equals the central difference along it."""
    generator = torch.Generator().manual_seed(0)
    at = 0
    for ids, types in rows:
        direction = torch.randn(len(ids), gradient.shape[1], generator=generator).double()
        weights = functional[at : at + len(ids)].double()
        arguments = {"input_ids": torch.tensor([ids])}
        if has_types:
            arguments["token_type_ids"] = torch.tensor([types])

        def value(step):
            move = lambda module, args, kwargs: ((args[0] + step * direction, *args[1:]), kwargs)
            hook = layer.register_forward_pre_hook(move, with_kwargs=True)
            with torch.no_grad():
                last = model(**arguments).last_hidden_state[0]
            hook.remove()
            return (weights * last).sum()

        step = 1e-5
        difference = (value(step) - value(-step)) / (2 * step)
        slope = (gradient[at : at + len(ids)] * direction).sum()
        assert abs(difference - slope) < 1e-6 * max(1.0, abs(slope)), f"slope {slope}, difference {difference}"
        at += len(ids)


def check_trained_gradients(loss, parameters, gradients):
    """The gradients of all trained parameters along one random direction equal the central difference."""
    generator = torch.Generator().manual_seed(1)
    directions = {name: torch.randn(p.shape, generator=generator).to(p) for name, p in parameters.items()}

    def value(step):
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter += step * directions[name]
            result = loss()
            for name, parameter in parameters.items():
                parameter -= step * directions[name]
        return result

    step = 1e-6
    difference = (value(step) - value(-step)) / (2 * step)
    slope = sum((gradients[name] * direction).sum() for name, direction in directions.items())
    assert abs(difference - slope) < 1e-5 * max(1.0, abs(slope)), f"slope {slope}, difference {difference}"
