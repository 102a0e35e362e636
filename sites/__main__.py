"""What a hospital does with its own photographs: `python -m sites --help`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def site() -> None:
    """What a hospital runs. Nothing that a command writes leaves this machine."""


@app.command()
def features(
    layout: str,
    root: Path,
    out: Path,
    model: Annotated[Path | None, typer.Option(help="A model.safetensors; ImageNet's weights without.")] = None,
    image_size: Annotated[int, typer.Option(help="Pixels that the network sees, a side.")] = 224,
    on_bad: Annotated[str, typer.Option(help="fail at photographs that cannot be read, or skip them")] = "fail",
    cache: Annotated[Path, typer.Option(help="Where prepared photographs and features are kept.")] = Path(
        ".teledx_cache"
    ),
    workers: Annotated[int, typer.Option(help="Photographs that are read at a time.")] = 2,
) -> None:
    """Write embeddings and quality features of a hospital's photographs, for its own use.

    LAYOUT says how they lie (aptos2019, brset, ddr, deepdrid, eyepacs, folder, idrid, mbrset, messidor2, retinamnist),
    ROOT in which folder; OUT will hold embeddings.npy, and photographs.csv with a row for each of its rows.
    """
    from teledx_fed.data.hospitals import collections
    from teledx_fed.model.network import build
    from teledx_fed.reporting.progress import Display
    from teledx_fed.settings import DataSettings, ModelSettings, Settings, SourceSettings
    from teledx_fed.training.compute import place
    from teledx_fed.training.embeddings import embeddings

    try:
        source = SourceSettings(layout=layout, root=str(root))
        data = DataSettings({"site": source}, image_size=image_size, cache=str(cache), workers=workers, on_bad=on_bad)
        begun = ModelSettings(
            freeze="backbone", initial="file" if model else "lite0", file=str(model) if model else None
        )
        settings = Settings(data=data, model=begun)
        with Display() as display:
            display.phase("photographs")
            found, images = collections(settings, display.advance, display.say)
            network = place(build(settings.model, settings.seed), settings, display.say)
            display.phase("features")
            table = embeddings(network, images, found["site"].examples, workers, display.advance)
    except (ValueError, ConnectionError) as error:
        sys.exit(f"error: {error}")
    table.write(out)
    typer.echo(f"{len(table.examples)} photographs: {out / 'embeddings.npy'}, {out / 'photographs.csv'}")


if __name__ == "__main__":
    app(prog_name="python -m sites")
