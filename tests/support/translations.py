"""A small world of sentences in four languages, translators of them, and an endpoint that translates by instruction."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

SENTENCES: dict[str, tuple[str, ...]] = {
    "en": (
        "The old river runs slowly through the green valley behind our house.",
        "My younger sister reads a long book in the garden every evening.",
        "We bought fresh bread and some cheese at the market this morning.",
        "The teacher explained the difficult question to all of the children.",
        "A cold wind came down from the mountains during the long night.",
        "Our neighbours painted the wooden door of their kitchen dark blue.",
        "The train to the capital leaves from the second platform at noon.",
        "Many people waited in front of the theatre for the famous singer.",
    ),
    "de": (
        "Der alte Fluss fließt langsam durch das grüne Tal hinter unserem Haus.",
        "Meine jüngere Schwester liest jeden Abend im Garten ein langes Buch.",
        "Wir haben heute Morgen auf dem Markt frisches Brot und etwas Käse gekauft.",
        "Die Lehrerin erklärte allen Kindern die schwierige Frage sehr geduldig.",
        "In der langen Nacht kam ein kalter Wind von den Bergen herunter.",
        "Unsere Nachbarn haben die Holztür ihrer Küche dunkelblau gestrichen.",
        "Der Zug in die Hauptstadt fährt am Mittag vom zweiten Bahnsteig ab.",
        "Viele Menschen warteten vor dem Theater auf die berühmte Sängerin.",
    ),
    "es": (
        "El viejo río corre despacio por el valle verde detrás de nuestra casa.",
        "Mi hermana menor lee un libro largo en el jardín todas las tardes.",
        "Esta mañana compramos pan fresco y un poco de queso en el mercado.",
        "La profesora explicó la pregunta difícil a todos los niños de la clase.",
        "Un viento frío bajó de las montañas durante toda la larga noche.",
        "Nuestros vecinos pintaron de azul oscuro la puerta de madera de su cocina.",
        "El tren a la capital sale del segundo andén al mediodía en punto.",
        "Mucha gente esperaba delante del teatro a la famosa cantante.",
    ),
    "ru": (
        "Старая река медленно течёт через зелёную долину за нашим домом.",
        "Моя младшая сестра каждый вечер читает в саду длинную книгу.",
        "Сегодня утром мы купили на рынке свежий хлеб и немного сыра.",
        "Учительница объяснила трудный вопрос всем детям этого класса.",
        "Холодный ветер спустился с гор в течение той долгой ночи.",
        "Наши соседи покрасили деревянную дверь своей кухни в тёмно-синий цвет.",
        "Поезд в столицу отправляется в полдень со второй платформы.",
        "Много людей ждали перед театром знаменитую певицу.",
    ),
}
TARGETS = ("de", "es", "ru")


def write_sources(path: Path, texts: tuple[str, ...] = SENTENCES["en"]) -> Path:
    """Write the English sentences as prompts."""
    rows = [{"id": f"s{n}", "prompt": text, "language": "en"} for n, text in enumerate(texts)]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def write_recorded(path: Path, **faulty: str) -> Path:
    """Write translations of all sentences; `faulty`: languages in which every second one is a copy of the source."""
    rows = [
        {"id": f"s{n}", "language": tag, "text": SENTENCES["en"][n] if tag in faulty and n % 2 else text}
        for tag in TARGETS
        for n, text in enumerate(SENTENCES[tag])
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def replay(name: str, path: Path, **changes: Any) -> dict[str, Any]:
    """Return the entry of a translator whose translations are recorded."""
    columns = {"key": "id", "language": "language", "text": "text"}
    engine = {"kind": "replay", "paths": str(path), "match": "source_id", "columns": columns}
    return {"name": name, "engine": engine, "languages": list(TARGETS), "licence": "Apache-2.0"} | changes


def write_translate(directory: Path, teachers: list[dict[str, Any]], **changes: Any) -> Path:
    """Write a pipeline that translates the sentences into three languages."""
    pool = directory / "teachers.yaml"
    pool.write_text(yaml.safe_dump({"teachers": teachers}, allow_unicode=True), encoding="utf-8")
    if not (directory / "sources.jsonl").exists():
        write_sources(directory / "sources.jsonl")
    config: dict[str, Any] = {
        "kind": "translate",
        "name": "translated",
        "prompts": {"kind": "jsonl", "paths": str(directory / "sources.jsonl")},
        "teachers": str(pool),
        "targets": list(TARGETS),
        "num_shards": 3,
    }
    path = directory / "translate.yaml"
    path.write_text(yaml.safe_dump(config | changes, allow_unicode=True), encoding="utf-8")
    return path


_LANGUAGES = {"German": "de", "Spanish": "es", "Russian": "ru"}


async def translate_as_told(body: dict[str, Any], _: int) -> web.Response:
    """Translate what an instruction quotes, sentence by sentence, between the tags that it names."""
    message = body["messages"][-1]["content"]
    target = _LANGUAGES[re.search(r"into (\w+)\.", message)[1]]  # type: ignore[index]
    text = re.search(r"\[text \w+\]\n(.*)\n\[end of text", message, re.DOTALL)[1]  # type: ignore[index]
    for source, translation in zip(SENTENCES["en"], SENTENCES[target], strict=True):
        text = text.replace(source, translation)
    tag = re.search(r"between <(\w+)>", message)[1]  # type: ignore[index]
    content = f"<{tag}>{text}</{tag}>"
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": len(message) // 4, "completion_tokens": len(content) // 4}
    return web.json_response({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})
