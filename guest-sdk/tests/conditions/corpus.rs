//! Conditions that `../conditions.rs` has made up, to be compiled: it says what for, and writes them.

corpus! {
    c000 { brand_id != kind }
    c001 { !(100 < amount) }
    c002 { (!is_refund) && (kind != kind) }
    c003 { !((amount < self.least) || (amount != self.least) || ("b" < kind)) }
    c004 { kind == "я" }
    c005 { (kind < brand_id) || (date_time.is_some()) }
    c006 { (brand_id <= self.brand) || ((try_count.is_none()) || (brand_id.is_some()) || (is_refund != is_refund)) }
    c007 { !((!(self.least == try_count)) || (brand_id.is_none()) || ((is_refund == self.on) && ("" <= brand_id) && (100 == amount))) }
    c008 { "" == kind }
    c009 { !(0.0001 != amount) }
    c010 { (("я" != kind) || (is_refund != false) || (try_count.is_some())) || ((100 == amount) && (is_refund.is_none()) && (is_refund == true)) }
    c011 { (self.on) && (try_count > amount) && (0.0001 == amount) }
    c012 { kind <= kind }
    c013 { (brand_id.is_none()) && (brand_id >= "я") }
    c014 { (!(is_refund)) && (amount > self.least) }
    c015 { (is_refund != true) && (!(self.on)) && (self.on) }
    c016 { !self.on }
    c017 { (self.brand != brand_id) && (amount < amount) }
    c018 { ((amount != -3) && (is_refund)) || (try_count != try_count) || (!(amount > amount)) }
    c019 { !(!((self.brand > kind) && (try_count != amount) && (try_count == -3))) }
    c020 { self.on }
    c021 { !(try_count >= amount) }
    c022 { !(!(try_count > try_count)) }
    c023 { (try_count >= 0.0001) || (!((self.on) || (1.50000 < amount))) || (!(!(try_count >= -3))) }
    c024 { 1.50000 >= amount }
    c025 { !(brand_id >= "я") }
    c026 { ((date_time.is_some()) || (!is_refund)) && (is_refund.is_some()) }
    c027 { ((!is_refund) || (!(1.5 < try_count))) && (((self.brand >= brand_id) || (self.times == amount) || (100 > try_count)) && ((kind > "я") || ("" < brand_id)) && ((!self.on) || (amount >= 1.50000))) && (true == is_refund) }
    c028 { kind.is_some() }
    c029 { (is_refund) || (-3 < amount) || (self.on) }
    c030 { ((self.least <= amount) && (100 < amount) && (1.5 == try_count)) && (self.on) && ((amount < 1.5) || (kind.is_none()) || (!self.on)) }
    c031 { (!(brand_id > "b")) && (try_count != 100) }
    c032 { self.on }
    c033 { ("" != kind) || (!self.on) }
    c034 { !((kind.is_none()) || (!self.on)) }
    c035 { ((brand_id != "я") || (brand_id.is_none())) && (1.50000 <= amount) }
    c036 { try_count != try_count }
    c037 { !(kind.is_none()) }
    c038 { (!(self.least >= try_count)) || (false != is_refund) || ((kind < "я") || (kind < "я") || (is_refund == false)) }
    c039 { !(((kind == kind) && (is_refund.is_some())) && (!(kind.is_none()))) }
    c040 { is_refund == self.on }
    c041 { (date_time.is_some()) || (try_count > amount) }
    c042 { (-3 != try_count) || (!(is_refund)) || (try_count != amount) }
    c043 { !(!((false != is_refund) || (kind.is_none()) || (1.50000 != amount))) }
    c044 { amount > amount }
    c045 { ("b" != brand_id) && (amount <= 1.50000) && (amount <= 0.0001) }
    c046 { !(!(kind <= "b")) }
    c047 { (!(date_time.is_some())) && (!(!(is_refund.is_some()))) && ("я" >= brand_id) }
    c048 { "" <= kind }
    c049 { (brand_id >= brand_id) || (try_count != -3) }
    c050 { (is_refund.is_none()) || (brand_id > "b") }
    c051 { (!(is_refund != false)) && ((kind.is_some()) && (brand_id < kind) && ((amount <= try_count) || (!is_refund) || (date_time.is_none()))) && ((try_count.is_none()) || (-3 > try_count) || (!is_refund)) }
    c052 { try_count > try_count }
    c053 { (-3 < try_count) || (!is_refund) }
    c054 { (!(is_refund == is_refund)) && (try_count.is_none()) && ((!is_refund) && (brand_id == "b") && (0.0001 <= try_count)) }
    c055 { (date_time.is_none()) || (0.0001 == amount) || ((!(self.times == amount)) || (!(1.5 != try_count))) }
    c056 { try_count > 100 }
    c057 { (kind != "b") && (try_count.is_some()) }
    c058 { (self.times != amount) || ((try_count.is_none()) && ("b" <= kind) && (try_count <= -3)) || (is_refund.is_none()) }
    c059 { (((!self.on) || (is_refund == false)) && ((amount < 100) && (try_count > 100) && (date_time.is_none())) && (amount <= try_count)) && (!((amount >= self.least) || (try_count.is_some()))) && ((date_time.is_some()) && (!(!is_refund)) && (1.50000 >= amount)) }
    c060 { is_refund != false }
    c061 { !(amount != -3) }
    c062 { ((is_refund.is_none()) && (kind != "b") && (self.on)) || ((brand_id == "") && (amount != 1.50000)) || (amount != 0.0001) }
    c063 { (!((kind <= brand_id) || (kind != "b"))) || (!((amount != 1.50000) || (amount < 0.0001) || (try_count != amount))) || ((1.5 <= try_count) || (amount > amount)) }
    c064 { date_time.is_none() }
    c065 { (amount <= 100) || (amount >= 1.5) }
    c066 { (brand_id == "b") && ((is_refund == true) && (brand_id <= brand_id)) && (self.brand != kind) }
    c067 { ((!(brand_id.is_some())) && (is_refund != is_refund)) || (!(self.times != amount)) }
    c068 { brand_id > brand_id }
    c069 { (1.50000 < try_count) && (self.on) }
    c070 { !(!(amount != 100)) }
    c071 { !(((is_refund != is_refund) && (self.on) && (amount >= 1.50000)) && (try_count.is_some()) && (!(amount <= try_count))) }
    c072 { try_count.is_some() }
    c073 { (kind < "я") && (is_refund.is_none()) }
    c074 { ((brand_id.is_some()) || (!self.on) || (0.0001 < amount)) || (!(amount == self.times)) || (!(amount >= 1.50000)) }
    c075 { (!self.on) && (brand_id.is_some()) && (brand_id < "я") }
    c076 { amount <= try_count }
    c077 { !(amount >= self.least) }
    c078 { !(!(brand_id.is_some())) }
    c079 { !((1.50000 == try_count) && ((kind > "я") && (kind > brand_id)) && (try_count.is_none())) }
    c080 { amount <= 0.0001 }
    c081 { (self.on) && (self.on) }
    c082 { (amount != -3) || (amount < amount) }
    c083 { !(!(("я" >= kind) || (kind != self.brand) || (try_count != amount))) }
    c084 { amount != self.least }
    c085 { !(amount > amount) }
    c086 { (!(self.on)) && ((is_refund == is_refund) || (amount < 0.0001) || (is_refund != is_refund)) && ((kind <= "b") || (brand_id > brand_id) || (try_count == amount)) }
    c087 { !(!(!(date_time.is_some()))) }
    c088 { kind == kind }
    c089 { (try_count > amount) && (amount <= amount) && (-3 > amount) }
    c090 { !((is_refund) || (self.least < amount)) }
    c091 { ((-3 >= amount) && ((self.times >= amount) || (kind <= brand_id))) || (((brand_id >= "я") && (self.times != try_count) && (date_time.is_some())) || (kind > "я") || (amount <= try_count)) }
    c092 { self.brand > brand_id }
    c093 { (amount >= -3) && (try_count.is_none()) }
    c094 { !((brand_id.is_some()) || (date_time.is_none())) }
    c095 { (kind < "") && (!is_refund) }
}
