"""The flags of fit, as a dataclass that tyro turns into help."""

from dataclasses import dataclass
from typing import Annotated, Literal

from .flags import Output, _flag

_FORMS = "{chinchilla,tied,gadre,kaplan,repeated,moe,sparsity,precision}"

EXAMPLES = (
    "fit --runs runs.csv --params n_params --tokens d_tokens --loss loss_nats",
    "fit --runs runs.csv --params N --flops C --loss L --out mine.toml --plot mine.png",
    "fit --runs runs.csv --params N --tokens D --loss L --form gadre --delta inf --residual nats --error err",
    "fit --runs runs.csv --params N --tokens D --unique-tokens U --loss L --form repeated --bootstrap 100",
    "fit --runs runs.csv --params N --tokens D --loss L --where split=val --group run --fix alpha=0.34 --json",
)


@dataclass(frozen=True)
class Fit(Output):
    """Fit a scaling law to your own training runs, exactly, with its uncertainty, as a file that --law accepts.

    The flags --runs, --params, --loss and one of --tokens and --flops are required. COL is a column's name.
    """

    runs: Annotated[str | None, _flag("The runs: a CSV table with a header, one run per line.", "FILE.csv")] = None
    params: Annotated[str | None, _flag("Parameters.", "COL")] = None
    tokens: Annotated[str | None, _flag("Training tokens.", "COL")] = None
    flops: Annotated[str | None, _flag("Instead of --tokens: training FLOPs, 6 N D.", "COL")] = None
    loss: Annotated[str | None, _flag("Final loss, in nats per token.", "COL")] = None
    form: Annotated[
        Literal["chinchilla", "tied", "gadre", "kaplan", "repeated", "moe", "sparsity", "precision"] | None,
        _flag("Form of the law (default chinchilla: E + A / N^alpha + B / D^beta).", _FORMS),
    ] = None
    unique_tokens: Annotated[str | None, _flag("For --form repeated: unique tokens.", "COL")] = None
    experts: Annotated[str | None, _flag("For --form moe: total over active experts, 1 for dense.", "COL")] = None
    sparsity: Annotated[
        str | None, _flag("For --form sparsity: total over active parameters; --params is then active ones.", "COL")
    ] = None
    train_bits: Annotated[str | None, _flag("For --form precision: bits of a weight in training.", "COL")] = None
    serve_bits: Annotated[str | None, _flag("Likewise: once trained, when the loss was measured.", "COL")] = None
    error: Annotated[
        str | None,
        _flag("Also fit errors downstream to the loss, eps - k exp(-gamma L), on rows that state one.", "COL"),
    ] = None
    weights: Annotated[
        str | None, _flag("How much a run counts for the law, 0 for not at all; errors count alike.", "COL")
    ] = None
    group: Annotated[str | None, _flag("Runs with the same value are resampled together.", "COL")] = None
    where: Annotated[
        str | None, _flag("Only rows whose columns hold these values, such as split=val,tuned=1.", "COL=VALUE,..")
    ] = None
    drop_highest: Annotated[
        float | None, _flag("Leave out so many runs of the highest loss (default 0); they are listed.", "RUNS")
    ] = None
    fix: Annotated[str | None, _flag("Coefficients to hold, such as alpha=0.34.", "NAME=VALUE,..")] = None
    delta: Annotated[
        str | None,
        _flag("Residuals beyond this count by size, not square (default 1e-3); inf: least squares.", "SIZE"),
    ] = None
    residual: Annotated[
        Literal["log", "nats"] | None, _flag("What counts: ln(predicted / measured) or the difference.", "{log,nats}")
    ] = None
    bootstrap: Annotated[
        float | None,
        _flag("Resamplings for errors and intervals (default 1000; 200 for forms after gadre); 0: none.", "DRAWS"),
    ] = None
    seed: Annotated[float | None, _flag("Of the resampling (default 0).", "SEED")] = None
    out: Annotated[
        str | None, _flag("The law's file, its resampled fits beside it (default fitted-law.toml).", "FILE.toml")
    ] = None
    scenario: Annotated[str | None, _flag("Take flags from a TOML file; flags given here win.", "FILE")] = None
    plot: Annotated[str | None, _flag("Draw fit, residuals, profiles, resampled fits: .png or .svg.", "FILE")] = None
