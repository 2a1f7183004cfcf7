//! Goods and shops as JSON texts: Cyrillic, quotes, escapes, and characters outside of the basic
//! plane, as on real receipts.

/// Description (already escaped), usual price in ten-thousandths, and whether it is weighed.
pub(super) const GOODS: [(&str, i64, bool); 24] = [
    ("Вода", 450_000, false),
    ("Aqva", 90_000, false),
    ("Хлеб «Бородинский»", 549_000, false),
    ("Молоко 3,2% 930 мл", 899_900, false),
    ("Сыр \\\"Российский\\\" 50%", 7_499_000, true),
    ("Яблоки Гала", 1_299_000, true),
    ("Кофе молотый Арабика 250 г", 4_599_900, false),
    ("Чай чёрный \\u2116 1", 2_190_000, false),
    ("Шоколад молочный с фундуком", 1_349_000, false),
    ("Бананы", 1_199_900, true),
    ("Куриное филе охл.", 3_899_000, true),
    ("Пакет-майка", 79_900, false),
    ("Сметана 20% 300 г", 1_090_000, false),
    ("Торт \\u00abМедовик\\u00bb", 6_490_000, false),
    ("Зубная паста 75 мл", 1_899_000, false),
    ("Гречка 900 г", 1_149_900, false),
    ("Noname POS", 100_000, false),
    ("Сок яблочный 1\\/2 л", 749_900, false),
    ("Подарочная карта 🎁", 10_000_000, false),
    ("Картофель мытый", 449_900, true),
    ("Корм для кошек с лососем", 399_000, false),
    ("Масло подсолнечное 1 л", 1_399_000, false),
    ("Детский набор «Космос»", 24_990_000, false),
    ("Кофемашина автоматическая", 349_990_000, false),
];

/// Shops: device, cashier and description.
pub(super) const SHOPS: [(&str, &str, &str); 5] = [
    ("001010", "666", "Noname POS"),
    ("001011", "012", "Магазин на Тверской"),
    ("000207", "004", "Касса самообслуживания 7"),
    ("119", "A-17", "Test store"),
    ("070001", "070", "Гипермаркет \\\"Север\\\""),
];

pub(super) const MERCHANT_UID: u128 = 0xb984_731d_4597_431f_a70b_6125_0392_c6a3;
pub(super) const PARTNER_ID: &str = "d1f94a6c-0d33-4cf2-79ab-9248f3dd2547";
pub(super) const BRAND_IDS: [&str; 3] = [
    "82013554-3dd3-4e08-5a73-e8354f45ffa6",
    "1b0a9bd7-5c53-4d30-9f62-3a51a7d2c1de",
    "f4a1c5d0-9e57-4a39-8b0e-6d2b7c9e0a11",
];
/// The currency of money, and that of bonus points.
pub(super) const MONEY: &str = "718ae69b-76be-413f-ad19-7b7e02e4a438";
pub(super) const BONUS: &str = "1f24174f-bfdb-4019-a3e7-4fb088b4a7a7";
pub(super) const OFFER_IDS: [&str; 3] = [
    "4848fd95-b3ee-4594-9ba1-211bcf148c43",
    "9c1f0a52-7d1e-4a33-8a6b-0f2d4e6b8c10",
    "27e3b6f8-51c9-4d7a-b4ee-93a5c7d1e2f0",
];
