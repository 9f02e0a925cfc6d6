"""Questions with exact answers in eight languages: sums, and names of countries as CLDR has them."""

from collections.abc import Iterator, Mapping
from typing import Final

from langcodes import Language

SUMS: Final = ((7, 5), (12, 6), (23, 4), (15, 15), (31, 8), (48, 27))
COUNTRIES: Final = ("DE", "ES", "GR", "EG", "SE", "HU")

SUM: Final[Mapping[str, str]] = {
    "en": "Anna has {a} apples and buys {b} more. How many apples does she have now? Answer with a number only.",
    "de": "Anna hat {a} Äpfel und kauft {b} dazu. Wie viele Äpfel hat sie jetzt? Antworte nur mit einer Zahl.",
    "fr": "Anna a {a} pommes et en achète {b} de plus. Combien de pommes a-t-elle maintenant ? Réponds seulement par "
    "un nombre.",
    "es": "Ana tiene {a} manzanas y compra {b} más. ¿Cuántas manzanas tiene ahora? Responde solo con un número.",
    "ru": "У Анны {a} яблок, и она покупает ещё {b}. Сколько яблок у неё теперь? Ответь только числом.",
    "tr": "Ayşe'nin {a} elması var ve {b} elma daha alıyor. Şimdi kaç elması var? Yalnızca bir sayıyla cevap ver.",
    "ar": "لدى سارة {a} تفاحات واشترت {b} أخرى. كم تفاحة لديها الآن؟ أجب برقم فقط.",
    "zh": "小明有{a}个苹果，又买了{b}个。他现在有多少个苹果？只用一个数字回答。",
}

COUNTRY: Final[Mapping[str, str]] = {
    "en": "What is the country “{name}” called in English? Answer with the name only.",
    "de": "Wie heißt das Land „{name}“ auf Deutsch? Antworte nur mit dem Namen.",
    "fr": "Comment s'appelle le pays « {name} » en français ? Réponds seulement par le nom.",
    "es": "¿Cómo se llama el país «{name}» en español? Responde solo con el nombre.",
    "ru": "Как называется страна «{name}» по-русски? Ответь только названием.",
    "tr": "“{name}” adlı ülkenin Türkçe adı nedir? Yalnızca adı yaz.",
    "ar": "ما اسم البلد «{name}» باللغة العربية؟ أجب بالاسم فقط.",
    "zh": "国家“{name}”用中文怎么说？只回答名称。",
}

LANGUAGES: Final = tuple(SUM)


def prompts() -> Iterator[dict[str, str]]:
    """Yield the rows of the prompts' file."""
    for language in LANGUAGES:
        for a, b in SUMS:
            yield _row(f"{language}-sum-{a}-{b}", language, "sum", SUM[language].format(a=a, b=b), str(a + b))
        for code in COUNTRIES:
            given = _country(code, "de" if language == "en" else "en")
            question = COUNTRY[language].format(name=given)
            yield _row(f"{language}-country-{code}", language, "country", question, _country(code, language))


def _country(code: str, language: str) -> str:
    return str(Language.make(territory=code).territory_name(language))


def _row(key: str, language: str, task: str, prompt: str, reference: str) -> dict[str, str]:
    return {"id": key, "language": language, "task": task, "prompt": prompt, "reference": reference}
