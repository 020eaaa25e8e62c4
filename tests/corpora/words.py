"""Texts in several languages, made of random words."""

WORDS = {
    "zh": "我们 今天 天气 很好 人民 国家 历史 学习 中国 北京 上海 时间 工作 生活 问题 经济 发展 "
    "社会 世界 朋友 学校 老师 学生 文化 语言 他说 没有 知道 可以 因为 所以 但是 如果 已经 "
    "开始 一个 这个 那个 什么 怎么 春天 来了 月亮 升起 河水 流过 山上 的 了 在 是 和 也 "
    "都 不 就",
    "ja": "私は 今日 学校 に 行き ました 天気 が とても 良い です 東京 日本 人々 言葉 の を は "
    "と も で から まで 先生 生徒 時間 仕事 世界 友達 本を 読む 音楽 聞く カメラ テレビ "
    "コンピュータ 春 夏 秋 冬 山 川 海 そして しかし もし だから 思います という こと "
    "もの よう それは ください",
    "ru": "человек время рука дело жизнь день вода слово место вопрос лицо друг страна мир "
    "город дом стол окно дорога книга был была сказал что как это все она они мы вы так "
    "уже только когда если потому где под над перед после всегда никогда большой новый "
    "старый красный хорошо очень и в не на я с",
    "fr": "le la les une été déjà où français élève garçon très même après château forêt être "
    "cœur leçon première là ça écrire lumière façon mère père frère tête fenêtre homme "
    "femme maison jour nuit est sont avec pour dans sur mais l’eau d’abord",
    "de": "der die das und nicht über für Straße schön größer können müssen Mädchen Häuser Tür "
    "früh König weiß grün Äpfel Öl Übung ist war sind haben werden aber auch nach vor mit "
    "Mann Frau Kind Tag Nacht",
    "es": "el la los niño mañana año español corazón también más días según está allí aquí "
    "canción después había señor país razón que de en y con por para hombre mujer casa "
    "noche agua palabra",
}
ENDS = {"zh": ("", "，", "。"), "ja": ("", "、", "。")}


def text(language: str, length: int, rng) -> str:
    """Returns `length` characters of sentences, some of which end a line."""
    gap, comma, stop = ENDS.get(language, (" ", ", ", ". "))
    words, found, size, lines = WORDS[language].split(), [], 0, rng.random() < 0.5
    while size < length:
        row = list(rng.choice(words, rng.integers(4, 14)))
        row[rng.integers(len(row) - 1)] += comma.strip()
        end = "\n" if lines and rng.random() < 0.4 else gap
        found.append(gap.join(row).capitalize() + stop.strip() + end)
        size += len(found[-1])
    return "".join(found)[:length]
