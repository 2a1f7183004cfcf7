//! Steps on which a customer states a consent or a time zone: the events of the source that say so.

use hailer_abi::wire::Channel;
use hailer_policies::{Policies, SubscriptionChange, ZoneChange, zone_of};
use serde_json::{Value, json};
use toml::de::DeTable;

use crate::engine::shown;
use crate::scenarios::reader::{Reader, spot};

impl<'text> Reader<'_, 'text> {
    /// The event that states a consent.
    pub(super) fn consent(
        &mut self,
        table: &DeTable<'text>,
        policies: &Policies,
        customer_info: &Value,
    ) -> Option<Value> {
        let (value, span) = spot(table, "consent")?;
        let Some(consent) = &policies.consent else {
            let hint = "add [consent] to policies.toml, or remove the step";
            self.problem(Some(span), "the policies ask for no consent", hint);
            return None;
        };
        let hint = "write channels with the source's values: consent = { sms = \"Disabled\" }";
        let channels = self.members((value, span), "`consent`", hint)?;
        self.unknown_keys(channels, "`consent`", Channel::NAMES);
        let mut info = serde_json::Map::new();
        for name in Channel::NAMES {
            if let Some(value) = self.short_text(channels, name, hint) {
                info.insert((*name).to_owned(), value.into());
            }
        }
        let hint = "write the subscription's code: subscription = \"Mailings\"";
        let subscription = self
            .short_text(table, "subscription", hint)
            .unwrap_or_else(|| consent.subscription.to_string());
        Some(json!({
            "eventCode": SubscriptionChange::EVENT,
            "subscriptionTypeCode": subscription,
            "subscriptionInfo": info,
            "customerInfo": customer_info,
        }))
    }

    /// The event that states a time zone.
    pub(super) fn zone_step(
        &mut self,
        table: &DeTable<'text>,
        policies: &Policies,
        customer_info: &Value,
    ) -> Option<Value> {
        let hint = "write a name or an offset: zone = \"Asia/Omsk\"";
        let (_, span) = spot(table, "zone")?;
        let Some(attribute) = &policies.zone_attribute else {
            let hint = "add `time_zone_attribute` to policies.toml, or remove the step";
            self.problem(Some(span), "the policies read no time zone of customers", hint);
            return None;
        };
        let zone = self.short_text(table, "zone", hint)?;
        if zone_of(&zone).is_none() {
            self.problem(Some(span), format!("there is no time zone `{}`", shown(&zone)), hint);
        }
        Some(json!({
            "eventCode": ZoneChange::EVENT,
            "attributeCode": attribute,
            "newValue": zone,
            "customerInfo": customer_info,
        }))
    }
}
