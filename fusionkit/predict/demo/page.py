"""The page of ``fusionkit demo``: photo, webcam and video, served by Gradio on the loopback address only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionkit.data.drawing import with_boxes
from fusionkit.errors import ConfigError, FusionKitError, printable
from fusionkit.grid.progress import Progress
from fusionkit.media.face_tracking import DetectionOptions
from fusionkit.media.inputs import find_inputs
from fusionkit.predict.demo.face_model import FaceModel, SeenFace
from fusionkit.predict.predictor import Predictor
from fusionkit.predict.video.run import TIMELINES, VideoOptions, VideoRun
from fusionkit.predict.video.summary import summary_line

if TYPE_CHECKING:
    import pandas as pd

HOST = "127.0.0.1"
_TILE, _VIEW_HEIGHT = 448, 160  # px of the drawn face, and of the drawn views
_HISTORY = 120  # frames of the webcam's chart
_EVERY = 0.2  # s between frames of the webcam
_MAX_UPLOAD = "500mb"
_BUTTONS = ["download", "fullscreen"]  # without that which shares a picture on a public page
NO_FACE = "No face found. Show the whole face, from the front, larger in the picture."


@dataclass
class LiveState:
    """Predictions of one visitor's webcam so far.

    Attributes:
        predict: function from a face and its frame number to the prediction.
        number: of the last frame.
        history: (frame number, probabilities) of the last frames with a face.
    """

    predict: Callable[[np.ndarray, int], SeenFace]
    number: int = 0
    history: list[tuple[int, np.ndarray]] = field(default_factory=list)


class DemoPage:
    """A running page.

    Args:
        predictor: of the cell.
        detection: how faces are found.
        port: TCP port; None: the first free one from 7860.

    Attributes:
        url: of the page.

    Raises:
        ConfigError: if Gradio is not installed, the port is in use, or the data set of the cell provides its views
            ready-made.
    """

    def __init__(self, predictor: Predictor, detection: DetectionOptions, port: int | None = None) -> None:
        self.model = FaceModel(predictor, detection)
        self.classes = [printable(name) for name in predictor.classes]
        self._detection = detection
        self._folder = Path(tempfile.mkdtemp(prefix="fusionkit-demo-"))
        # Without these, Gradio reports its use to its authors and keeps uploads in the system's folder.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(self._folder)}
        try:
            import gradio
        except ImportError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ConfigError("demo: gradio is not installed", hint="pip install 'fusionkit[demo]'") from error
        self._gradio = gradio
        self._blocks = self._build()
        try:
            _, self.url, _ = self._blocks.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=_MAX_UPLOAD,
                ssr_mode=False,
                footer_links=[],
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            )
        except OSError as error:
            self.close()
            where = f"port {port} of {HOST} is" if port else f"all ports of {HOST} from 7860 to 7959 are"
            raise ConfigError(f"demo: {where} in use", hint="choose another --port") from error

    def wait(self) -> None:
        """Serve until the process is interrupted."""
        while True:
            sleep(3600)

    def close(self) -> None:
        """Stop the server and delete the uploads."""
        self._blocks.close(verbose=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- what the tabs show ----------------------------------------------------------------------------------------

    def show_photo(self, picture: np.ndarray | None, covered: list[str]) -> tuple[Any, ...]:
        """Return boxes and views, the regions that can be covered, both predictions, and the effect of each region."""
        gradio = self._gradio
        empty = gradio.CheckboxGroup(choices=[], value=[])
        if picture is None:
            return None, [], empty, None, None, None, ""
        with self._errors():
            face = self.model.find(picture)
            if face is None:
                return None, [], empty, None, None, None, NO_FACE
            whole = self.model.predict(face)
            regions = list(whole.boxes)
            covered = [region for region in covered if region in regions]
            shown = self.model.covered(whole, covered) if covered else whole
            return (
                with_boxes(shown.face, shown.boxes, tile=_TILE),
                self._views(shown),
                gradio.CheckboxGroup(choices=regions, value=covered, visible=bool(regions)),
                self._label(whole),
                gradio.Label(self._label(shown) if covered else None, visible=bool(covered)),
                self._effects(whole, self.model.effects(whole)) if regions else None,
                "" if whole.probs is not None else NO_FACE,
            )

    def show_live(
        self, picture: np.ndarray | None, state: LiveState | None
    ) -> tuple[Any, Any, Any, LiveState]:  # Gradio evaluates the annotations; the third is a pd.DataFrame or None
        """Return boxes, probabilities and their course after one more frame of the webcam."""
        state = state or LiveState(self.model.live())
        if picture is None:
            return None, None, None, state
        with self._errors():
            state.number += 1
            face = self.model.find(picture)
            if face is None:
                return None, None, self._course(state), state
            seen = state.predict(face, state.number)
            if seen.probs is not None:
                state.history = [*state.history, (state.number, seen.probs)][-_HISTORY:]
            return with_boxes(face, seen.boxes, tile=_TILE), self._label(seen), self._course(state), state

    def show_video(self, path: str | None, progress: Progress) -> tuple[list[str], str]:
        """Return the timelines of a video, one per face, and the summary and faults as text."""
        if path is None:
            return [], ""
        with self._errors():
            out = Path(tempfile.mkdtemp(dir=self._folder))
            inputs, unlisted = find_inputs([path])
            run = VideoRun(self.model.predictor, VideoOptions(self._detection, draw=False), out)
            lines = list(unlisted)
            for result in run(inputs, progress):
                lines += [summary_line(result, run.predictor.task), *result.faults]
            timelines = sorted(str(file) for file in (out / TIMELINES).glob("*.png"))
            return timelines, "\n\n".join(line.replace(str(Path(path).parent), "").lstrip("/") for line in lines)

    def _label(self, seen: SeenFace) -> dict[str, float] | None:
        return None if seen.probs is None else dict(zip(self.classes, seen.probs.tolist(), strict=True))

    def _views(self, seen: SeenFace) -> list[tuple[np.ndarray, str]]:
        import cv2

        found = []
        for name, view in seen.views.items():
            if view is not None and view.size:
                width = max(1, round(view.shape[1] * _VIEW_HEIGHT / view.shape[0]))
                found.append((cv2.resize(view, (width, _VIEW_HEIGHT), interpolation=cv2.INTER_NEAREST), name))
        return found

    def _effects(self, whole: SeenFace, covered: dict[str, SeenFace]) -> dict[str, Any]:
        """Return the class predicted with each region covered, and the change of the class of the whole face."""
        if whole.probs is None:
            return {"headers": ["covered", "prediction"], "data": [["nothing", "no view was found"]]}
        top = int(whole.probs.argmax())
        rows = [["nothing", self.classes[top], f"{whole.probs[top]:.2f}", ""]]
        for region, seen in covered.items():
            if seen.probs is None:
                rows.append([region, "no view was found", "", ""])
            else:
                change = f"{seen.probs[top] - whole.probs[top]:+.2f}"
                rows.append([region, self.classes[int(seen.probs.argmax())], f"{seen.probs[top]:.2f}", change])
        return {"headers": ["covered", "prediction", f"p({self.classes[top]})", "change"], "data": rows}

    def _course(self, state: LiveState) -> pd.DataFrame | None:
        import pandas as pd

        rows = [
            (number, name, float(value))
            for number, probs in state.history
            for name, value in zip(self.classes, probs, strict=True)
        ]
        return pd.DataFrame(rows, columns=["frame", "class", "probability"]) if rows else None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of fusionkit into messages on the page."""
        try:
            yield
        except FusionKitError as error:
            raise self._gradio.Error(str(error)) from error

    # -- layout ----------------------------------------------------------------------------------------------------

    def _build(self) -> Any:
        gradio = self._gradio
        predictor = self.model.predictor
        with gradio.Blocks(title="fusionkit demo", analytics_enabled=False) as blocks:
            gradio.Markdown(f"### {printable(str(predictor))}\n{self._about()}")
            with gradio.Tab("Photo"):
                self._photo_tab()
            with gradio.Tab("Webcam"):
                self._webcam_tab()
            with gradio.Tab("Video"):
                self._video_tab()
        blocks.queue(default_concurrency_limit=1)
        return blocks

    def _about(self) -> str:
        aligned = "" if self.model.takes_scenes else " Without a detector, a picture must be an aligned face."
        dataset = printable(str(self.model.predictor.dataset))
        return (
            f"Trained on {dataset}.{aligned} Pictures stay on this machine and are deleted when the demo ends. "
            "Probabilities are those of the trained classes; they do not tell what a person feels."
        )

    def _photo_tab(self) -> None:
        gradio = self._gradio
        with gradio.Row():
            with gradio.Column():
                picture = gradio.Image(label="picture", sources=["upload", "webcam", "clipboard"], type="numpy")
                covered = gradio.CheckboxGroup(choices=[], label="cover these regions", visible=False)
                message = gradio.Markdown()
            with gradio.Column():
                face = gradio.Image(label="face and regions", interactive=False, buttons=_BUTTONS)
                views = gradio.Gallery(
                    label="views", height=220, columns=4, object_fit="contain", interactive=False, buttons=_BUTTONS
                )
            with gradio.Column():
                whole = gradio.Label(label="prediction")
                partial = gradio.Label(label="prediction with the regions covered", visible=False)
                effects = gradio.Dataframe(label="each region covered alone", interactive=False)
        outputs = [face, views, covered, whole, partial, effects, message]
        picture.change(self.show_photo, [picture, covered], outputs, api_name="photo")
        covered.input(self.show_photo, [picture, covered], outputs, api_name="cover")

    def _webcam_tab(self) -> None:
        gradio = self._gradio
        _, fusion, smoother = self.model.predictor.name.split("/")[:3]
        if not self.model.is_causal:
            part = fusion if self.model.predictor.heads[0].later_frames == "fusion" else smoother
            gradio.Markdown(f"Each frame by itself: {printable(part)} needs later frames.")
        elif smoother != "none":
            gradio.Markdown(f"Smoothed by {printable(smoother)}.")
        state = gradio.State(None)
        with gradio.Row():
            camera = gradio.Image(label="webcam", sources=["webcam"], streaming=True, type="numpy")
            face = gradio.Image(label="face and regions", interactive=False, buttons=_BUTTONS)
            label = gradio.Label(label="prediction")
        course = gradio.LinePlot(x="frame", y="probability", color="class", y_lim=[0, 1], height=300)
        camera.stream(
            self.show_live,
            [camera, state],
            [face, label, course, state],
            stream_every=_EVERY,
            show_progress="hidden",
            api_visibility="private",
        )

    def _video_tab(self) -> None:
        gradio = self._gradio
        video = gradio.File(label="video", file_types=["video"], type="filepath")
        summary = gradio.Markdown()
        timelines = gradio.Gallery(
            label="probabilities over time", preview=True, object_fit="contain", interactive=False, buttons=_BUTTONS
        )

        def show(path: str | None, bar: Any = gradio.Progress()) -> tuple[Any, str]:  # noqa: B008  (Gradio's way)
            pictures, text = self.show_video(path, _Bar(bar))
            return gradio.Gallery(pictures, selected_index=0 if pictures else None), text

        video.change(show, [video], [timelines, summary], api_name="video")


class _Bar(Progress):
    """Progress in Gradio's bar."""

    def __init__(self, bar: Any) -> None:
        self._bar, self._done, self._total, self._unit = bar, 0, 0, ""

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Begin a stage."""
        self._done, self._total, self._unit = 0, total, unit
        yield

    def advance(self, count: int = 1) -> None:
        """Count what is done."""
        self._done += count
        self._bar((min(self._done, self._total), self._total), unit=self._unit)
