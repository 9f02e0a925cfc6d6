"""One short text about a river in several languages."""

PROSE = {
    "en": "The river rises in the mountains and winds through three countries before it reaches the sea. Its water "
    "feeds fields and mills, and in spring it floods the meadows where children look for frogs.",
    "ru": "Река берёт начало в горах и течёт через три страны, прежде чем достигает моря. Её вода питает поля и "
    "мельницы, а весной она заливает луга, где дети ищут лягушек и первые цветы года.",
    "ar": "ينبع النهر من الجبال ويجري عبر ثلاث دول قبل أن يصل إلى البحر. تسقي مياهه الحقول والطواحين، وفي الربيع "
    "يغمر المروج حيث يبحث الأطفال عن الضفادع وعن أولى أزهار السنة الجديدة.",
    "hi": "नदी पहाड़ों से निकलती है और समुद्र तक पहुँचने से पहले तीन देशों से होकर बहती है। इसका पानी खेतों और "
    "चक्कियों को चलाता है, और वसंत में यह मैदानों में भर जाती है जहाँ बच्चे मेंढक ढूँढते हैं।",
    "zh": "这条河发源于高山，流经三个国家，最后注入大海。河水灌溉田野，推动磨坊；"
    "到了春天，它漫过草地，孩子们在那里寻找青蛙和一年中最早开放的花朵。",
    "th": "แม่น้ำสายนี้ไหลจากภูเขาผ่านสามประเทศก่อนลงสู่ทะเล น้ำของมันหล่อเลี้ยงทุ่งนาและโรงสี "
    "พอถึงฤดูใบไม้ผลิก็เอ่อท่วมทุ่งหญ้าที่เด็ก ๆ ไปหากบและดอกไม้แรกของปี",
    "ja": "その川は山から流れ出し、三つの国を通って海に注ぐ。水は畑を潤し、水車を回す。"
    "春になると草原があふれ、子どもたちはそこで蛙や一番早い花を探して歩く。",
}
"""Of different scripts."""

LATIN = {
    "de": "Der Fluss entspringt in den Bergen und fließt durch drei Länder, bevor er das Meer erreicht.",
    "fr": "La rivière prend sa source dans les montagnes et traverse trois pays avant de rejoindre la mer.",
    "sw": "Mto huu unaanzia milimani na kupita katika nchi tatu kabla ya kufika baharini kwa utulivu.",
    "tr": "Nehir dağlardan doğar ve denize ulaşmadan önce üç ülkeden geçerek uzun bir yol alır.",
}
"""In the script that most texts of other languages quote too."""
