"""The concatenation MLP of ``heads.py`` by other means; each runs in its own environment and needs only its library."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VIEWS = ("eye", "mouth", "nose")
CLASSES = 7
HIDDEN = 256
BATCH = 256

Work = Callable[[], Any]


@dataclass(frozen=True, eq=False)
class Data:
    """Features (n, 3, D) float32 and labels (n,) int64."""

    train: np.ndarray
    train_label: np.ndarray
    dev: np.ndarray
    dev_label: np.ndarray
    test: np.ndarray

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """Features by part."""
        return {"train": self.train, "dev": self.dev, "test": self.test}

    @classmethod
    def read(cls, folder: str, frames: int | None = None) -> Data:
        """What ``heads.py`` has written; the first ``frames`` to train on."""
        stored = {name: np.load(Path(folder) / f"{name}.npy") for name in cls.__dataclass_fields__}
        stored["train"], stored["train_label"] = stored["train"][:frames], stored["train_label"][:frames]
        return cls(**stored)


def _loaders(data: Data) -> tuple[Any, Any, Any]:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    torch.manual_seed(0)

    def of(x: np.ndarray, y: np.ndarray) -> Any:
        return TensorDataset(*torch.from_numpy(x).unbind(1), torch.from_numpy(y))

    unlabelled = np.zeros(len(data.test), np.int64)
    return (
        DataLoader(of(data.train, data.train_label), batch_size=BATCH, shuffle=True),
        DataLoader(of(data.dev, data.dev_label), batch_size=BATCH),
        DataLoader(of(data.test, unlabelled), batch_size=BATCH),
    )


def _loop(network: Any, data: Data, epochs: int, inputs: Callable[[list[Any]], Any]) -> None:
    """The loop of a script: train, predict dev after each epoch and test at the end."""
    import torch
    from torch.nn import functional

    train, dev, test = _loaders(data)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    for _ in range(epochs):
        network.train()
        for *x, y in train:
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs(x)), y).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            for *x, _ in dev:
                network(inputs(x)).argmax(1).numpy()
    with torch.no_grad():
        for *x, _ in test:
            network(inputs(x)).numpy()


def script(data: str, epochs: int) -> Work:
    """PyTorch with a DataLoader."""
    given = Data.read(data)

    def work() -> None:
        import torch
        from torch import nn

        network = nn.Sequential(nn.Linear(given.train[0].size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
        _loop(network, given, epochs, lambda x: torch.cat(x, 1))

    return work


def torchmultimodal(data: str, epochs: int) -> Work:
    """Its fusion and MLP in the same loop: it has none."""
    from torchmultimodal.modules.fusions.concat_fusion import ConcatFusionModule
    from torchmultimodal.modules.layers.mlp import MLP

    given = Data.read(data)

    def work() -> None:
        network = ConcatFusionModule(MLP(given.train[0].size, CLASSES, HIDDEN, dropout=0.0))
        _loop(network, given, epochs, lambda x: dict(zip(VIEWS, x, strict=True)))

    return work


def pykale(data: str, epochs: int) -> Work:
    """Its trainer for several modalities, which is of PyTorch Lightning."""
    import pytorch_lightning as lightning
    import torch
    from kale.embed.multimodal_fusion import Concat
    from kale.pipeline.base_nn_trainer import MultimodalNNTrainer
    from torch import nn

    given = Data.read(data)

    def work() -> None:
        train, dev, test = _loaders(given)
        head = nn.Sequential(nn.Linear(given.train[0].size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
        encoders = [nn.Identity() for _ in VIEWS]
        model = MultimodalNNTrainer(encoders, Concat(), head, optim=torch.optim.AdamW, lr=1e-3, weight_decay=1e-4)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", enable_model_summary=False, **quiet)
        trainer.fit(model, train, dev)
        trainer.test(model, test, verbose=False)

    return work


def fusilli(data: str, epochs: int) -> Work:
    """Tables in, trained model out; the reading of its CSV files does not count. It predicts dev only."""
    import pandas as pd
    import torch
    from fusilli.data import prepare_fusion_data
    from fusilli.fusionmodels.tabularfusion.concat_data import ConcatTabularData
    from fusilli.train import train_and_save_models
    from torch import nn

    torch.set_num_threads(1)
    given = Data.read(data)
    x, y = np.concatenate([given.train, given.dev]), np.concatenate([given.train_label, given.dev_label])
    folder = Path(tempfile.mkdtemp())
    paths = {"tabular1": "", "tabular2": "", "tabular3": "", "image": ""}
    for index in range(len(VIEWS)):
        table = pd.DataFrame(x[:, index]).add_prefix("f")
        table.insert(0, "prediction_label", y)
        table.insert(0, "ID", np.arange(len(y)))
        paths[f"tabular{index + 1}"] = str(folder / f"{index}.csv")
        table.to_csv(paths[f"tabular{index + 1}"], index=False)
    outputs = {name: str(folder / name) for name in ("losses", "checkpoints", "figures")}
    for path in outputs.values():
        Path(path).mkdir()
    module = prepare_fusion_data(
        prediction_task="multiclass",
        fusion_model=ConcatTabularData,
        data_paths=paths,
        output_paths=outputs,
        batch_size=BATCH,
        multiclass_dimensions=CLASSES,
        test_indices=list(range(len(given.train), len(y))),
        max_epochs=epochs,
    )
    layers = nn.Sequential(nn.Linear(given.train[0].size, HIDDEN), nn.ReLU())
    changed = {"ConcatTabularData": {"fused_layers": layers}}

    def work() -> None:
        train_and_save_models(
            data_module=module,
            fusion_model=ConcatTabularData,
            layer_mods=changed,
            max_epochs=epochs,
            enable_checkpointing=False,
        )

    return work


def _sklearn(data: str, make: Callable[[], Any]) -> Work:
    given = Data.read(data)
    train, test = (x.reshape(len(x), -1) for x in (given.train, given.test))
    return lambda: make().fit(train, given.train_label).predict_proba(test)


def logistic_regression(data: str, epochs: int) -> Work:  # noqa: ARG001  (it has none)
    """scikit-learn's, which is linear and has no epochs."""
    from sklearn.linear_model import LogisticRegression

    return _sklearn(data, lambda: LogisticRegression(max_iter=100))


def mlp_classifier(data: str, epochs: int) -> Work:
    """scikit-learn's, without a look at dev."""
    from sklearn.neural_network import MLPClassifier

    return _sklearn(data, lambda: MLPClassifier((HIDDEN,), batch_size=BATCH, max_iter=epochs, n_iter_no_change=10**6))


PEERS: dict[str, Callable[..., Work]] = {
    "DataLoader": script,
    "LogisticRegression": logistic_regression,
    "MLPClassifier": mlp_classifier,
    "fusilli": fusilli,
    "pykale": pykale,
    "torchmultimodal": torchmultimodal,
}

if __name__ == "__main__":
    import sys

    from interleaved import serve

    serve(PEERS[sys.argv[2]])
