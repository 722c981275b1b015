"""The table of pipelines: what a task's `kind` of data goes through."""

from __future__ import annotations

from liandan.data.chat_pipeline import ChatPipeline
from liandan.data.image_pipeline import ImagePipeline
from liandan.data.labeled_text_pipeline import LabeledTextPipeline
from liandan.data.text_pipeline import TextPipeline

PIPELINES: dict[str, type[ImagePipeline] | type[TextPipeline] | type[ChatPipeline] | type[LabeledTextPipeline]] = {
    "images": ImagePipeline,
    "text": TextPipeline,
    "chat": ChatPipeline,
    "labeled_text": LabeledTextPipeline,
}
