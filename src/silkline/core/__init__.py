"""The data types that all packages share.

A `Request` holds a conversation and the images that its messages refer to. An engine answers it
with a stream of `Delta`s; the last one has the finish reason and the usage. An `Answer` is the
whole stream joined. All types are frozen, hold plain values and do not depend on HTTP, the cache or
the engines.
"""

from silkline.core.answer import (
    Answer,
    Delta,
    FinishReason,
    Stage,
    Timeline,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    complete,
    join,
)
from silkline.core.engine import (
    EngineInfo,
    Feature,
    Health,
    PixelBudget,
)
from silkline.core.message import (
    EncodedImage,
    Image,
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    ToolCall,
)
from silkline.core.request import (
    LoraAdapter,
    Request,
)
from silkline.core.sampling import (
    Constraint,
    ConstraintKind,
    PromptOptions,
    Sampling,
    Tool,
    ToolChoice,
)

__all__ = [
    "Answer",
    "Constraint",
    "ConstraintKind",
    "Delta",
    "EncodedImage",
    "EngineInfo",
    "Feature",
    "FinishReason",
    "Health",
    "Image",
    "ImagePart",
    "LoraAdapter",
    "Message",
    "Part",
    "PixelBudget",
    "PromptOptions",
    "Request",
    "Role",
    "Sampling",
    "Stage",
    "TextPart",
    "Timeline",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
    "Usage",
    "complete",
    "join",
]
