"""NeMo Data Designer: prompts as a seed data set, one text column, its request limit at the cap.

benchmarks/peers/.venv-data-designer/bin/python benchmarks/peers/with_data_designer.py BASE_URL prompts.jsonl
OUT_DIR 256
"""

import os
import sys
from pathlib import Path

import data_designer.config as dd
from data_designer.interface import DataDesigner


def main(url: str, source: str, out: str, in_flight: int) -> None:
    os.environ.setdefault("NEMO_TELEMETRY_ENABLED", "false")
    num_rows = len(Path(source).read_text().splitlines())
    provider = dd.ModelProvider(name="mock", endpoint=url, provider_type="openai", api_key="none")
    model = dd.ModelConfig(
        alias="mock",
        model="mock",
        provider="mock",
        skip_health_check=True,
        inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=in_flight, max_tokens=64),
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.LocalFileSeedSource(path=source))
    builder.add_column(dd.LLMTextColumnConfig(name="answer", model_alias="mock", prompt="{{ prompt }}"))
    designer = DataDesigner(artifact_path=out, model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=max(1000, 4 * in_flight)))
    designer.create(builder, num_records=num_rows)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
