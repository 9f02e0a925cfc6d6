"""datatrove's InferenceRunner against an endpoint, with its checkpoints on.

    benchmarks/peers/.venv-datatrove/bin/python benchmarks/peers/with_datatrove.py BASE_URL prompts.jsonl OUT 256

Its `inference` extra pulls vllm and sglang for GPUs and does not install without one; the endpoint server needs
neither. One task: two would halve the cap of each and double nothing on an endpoint.
"""

import os
import sys

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter


async def ask(document: Document, generate) -> object:  # noqa: ANN001
    return await generate({"messages": [{"role": "user", "content": document.text}], "seed": 0})


def main(url: str, source: str, out: str, in_flight: int) -> None:
    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="mock",
        endpoint_url=url.removesuffix("/v1"),
        max_concurrent_generations=in_flight,
        max_concurrent_documents=2 * in_flight,
    )
    runner = InferenceRunner(
        rollout_fn=ask,
        config=config,
        output_writer=JsonlWriter(os.path.join(out, "rows"), output_filename="${rank}_${chunk_index}.jsonl"),
        checkpoints_local_dir=os.path.join(out, "checkpoints"),
        records_per_chunk=2000,
    )
    reader = JsonlReader(os.path.dirname(source), glob_pattern=os.path.basename(source), text_key="prompt")
    LocalPipelineExecutor([reader, runner], tasks=1, logging_dir=os.path.join(out, "logs")).run()


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
