"""`bench train`: train a defense and what it needs, and keep the weights where `bench run` finds them."""

from __future__ import annotations

import json
from typing import Any

import click

from bench.cli import options


@options.command()
@options.defense
@options.network
@options.on
@options.workers
@options.track
@options.as_json
def train(defense: str, as_json: bool, **shared: Any) -> int:
    """Train a defense, its parents first; a training that was killed goes on at the last epoch."""
    from bench.cli.requests import as_options, as_request

    how = as_options(**shared)
    request = as_request(defense, **shared)  # says what is wrong with a name, before torch is loaded

    from bench.plan import plan_training
    from bench.runner.origins import note_training
    from bench.runner.trainings import engaged, fitted

    spec = plan_training(request)
    result = how.store.model(spec.id) / "training.json"
    before = result.stat().st_mtime_ns if result.is_file() else None
    with engaged(how) as engine:
        trained = fitted(spec, engine)
    note_training(spec, how.store.model(spec.id))
    if result.stat().st_mtime_ns == before:
        how.progress.say(f"training {spec.id} is complete: these are its weights, nothing was trained")
    if as_json:
        click.echo(
            json.dumps(
                {
                    "training_id": spec.id,
                    "folder": str(trained.folder),
                    "best_epoch": trained.epoch,
                    "epochs": trained.epochs,
                    "seconds": trained.seconds,
                    "validation_robust_accuracy": trained.validation_robust_accuracy,
                    "sha256": trained.sha256,
                },
                indent=1,
            )
        )
        return 0
    if not trained.epochs:
        click.echo(f"{spec.named.label}: nothing to train; weights in {trained.folder}")
        return 0
    robust = trained.validation_robust_accuracy
    held = "" if robust is None else f", {100 * robust:.1f} % robust on held-out images"
    click.echo(
        f"{spec.named.label}: epoch {trained.epoch} of {trained.epochs} is the best{held}; "
        f"{trained.seconds:.0f} s; weights in {trained.folder}"
    )
    return 0
