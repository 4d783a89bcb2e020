//! Which letters are meant. Pure.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::letter::Letter;

/// Letters of one tenant; what is not given fits every letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Whose.
    pub tenant: String,
    /// The stable word for the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The pulse's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The pulse's service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// First tried at this time or later, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// First tried before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// Occurs in the error text or in the original bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Filter {
    /// All letters of a tenant.
    pub fn of(tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ..Self::default() }
    }

    /// Whether a letter is meant.
    pub fn fits(&self, letter: &Letter) -> bool {
        self.fits_head(&letter.tenant, &letter.code, letter.first_at_us)
            && (!self.looks_inside() || self.fits_pulse(letter))
    }

    /// The same of what is told without a look at the pulse or the message.
    pub(crate) fn fits_head(&self, tenant: &str, code: &str, first_at_us: i64) -> bool {
        let first_ms = first_at_us.div_euclid(1000);
        tenant == self.tenant
            && self.reason.as_ref().is_none_or(|reason| reason == code)
            && self.from_ms.is_none_or(|from| first_ms >= from)
            && self.to_ms.is_none_or(|to| first_ms < to)
    }

    /// Whether it asks for more than that.
    pub(crate) fn looks_inside(&self) -> bool {
        self.kind.is_some() || self.service.is_some() || self.text.is_some()
    }

    fn fits_pulse(&self, letter: &Letter) -> bool {
        let record = letter.record();
        let entry = record.as_ref().map(|record| &record.entry);
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.kind, entry.map(|entry| entry.kind))
            && is(&self.service, entry.map(|entry| entry.service))
            && self.text.as_ref().is_none_or(|text| {
                let finder = memmem::Finder::new(text.as_bytes());
                finder.find(letter.message.as_bytes()).is_some()
                    || entry.is_some_and(|entry| finder.find(entry.raw).is_some())
            })
    }
}
