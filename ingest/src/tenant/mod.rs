//! Tenants: who asks, what they may do, and what they may use. Which key is whose lies in a table
//! that is replaced as a whole and read without a lock. Knows neither HTTP nor files, and never
//! keeps or tells a key: only its hash.

pub mod file;
#[cfg(test)]
mod file_tests;
mod permission;
mod table;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::code::{Code, Reject};
use crate::limits::{Allowance, Allowances, Limiter};
use crate::retention::DEFAULT_CLASS;
use crate::schema::Schemas;
use crate::submission::{Ack, Refusal};

pub use permission::{Permission, Permissions};
pub use pulsemesh_runtime::api_key as key;
pub use table::{KeyHash, Table, TableError};

/// The tenant of all pulses as long as none are configured.
pub const DEFAULT_TENANT: &str = "default";

/// One of those who share the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name, 1 to 128 bytes: the first part of the key of all that it stores.
    pub name: Arc<str>,
    /// What it may use.
    pub limits: Limits,
    /// The highest level of acknowledgement that it may ask for.
    pub ack_highest: Ack,
    /// How long its pulses are kept, as the name of a retention class.
    pub retention_class: Arc<str>,
    /// Added to the metadata of each of its pulses; sorted by name, each name once.
    pub metadata: Arc<[(String, String)]>,
    /// What is demanded of its pulses; `None`: nothing.
    pub schemas: Option<Arc<Schemas>>,
}

impl Tenant {
    /// A tenant without limits that may ask for every level.
    pub fn unlimited(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            limits: Limits::NONE,
            ack_highest: Ack::Stored,
            retention_class: DEFAULT_CLASS.into(),
            metadata: Arc::default(),
            schemas: None,
        }
    }
}

impl Tenant {
    /// The same, with every pulse refused that a schema does not take.
    #[must_use]
    pub fn strict(&self) -> Self {
        let schemas = self.schemas.as_ref().map(|schemas| Arc::new(schemas.rejecting()));
        Self { schemas, ..self.clone() }
    }
}

/// What a tenant may use; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests in any minute.
    pub requests_per_minute: u64,
    /// Pulses in any minute.
    pub pulses_per_minute: u64,
    /// Requests at once above the rate.
    pub burst: u64,
}

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self { requests_per_minute: 0, pulses_per_minute: 0, burst: 0 };
}

impl From<Limits> for Allowances {
    fn from(limits: Limits) -> Self {
        let Limits { requests_per_minute, pulses_per_minute, burst } = limits;
        let burst = (burst > 0).then_some(burst);
        Self {
            requests: Allowance { per_minute: requests_per_minute, burst },
            pulses: Allowance { per_minute: pulses_per_minute, burst: None },
        }
    }
}

impl Default for Limits {
    /// What a tenant of the file has unless it says otherwise.
    fn default() -> Self {
        Self { requests_per_minute: 300, ..Self::NONE }
    }
}

/// Who sends a request, and what the key allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose data it reads and writes.
    pub tenant: Arc<Tenant>,
    /// What it may do.
    pub permissions: Permissions,
    /// The name of its key; `None` where nobody needs one.
    pub key: Option<Arc<str>>,
}

impl Caller {
    /// What is written down of who has asked for something: the tenant and the key's name.
    pub fn asked_by(&self) -> Option<String> {
        self.key.as_ref().map(|key| format!("{}/{key}", self.tenant.name))
    }

    /// Refuses what the key does not allow.
    ///
    /// # Errors
    /// [`Code::NotPermitted`].
    pub fn require(&self, permission: Permission) -> Result<(), Refusal> {
        if self.permissions.has(permission) {
            return Ok(());
        }
        Err(Reject::new(Code::NotPermitted, permission.missing()).into())
    }
}

/// All tenants. Who holds it sees the newest table at each question.
pub struct Tenants {
    table: ArcSwap<Table>,
    /// Who everybody is as long as no tenants are configured. It never changes while the process
    /// runs: a file that is lost or broken must not open the door.
    open: Option<Caller>,
    /// Knows the limits of those in the table.
    limiter: Arc<Limiter>,
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants").field("open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Tenants {
    /// One open tenant, [`DEFAULT_TENANT`], that needs no key and may do everything.
    pub fn open() -> Self {
        let tenant = Arc::new(Tenant::unlimited(DEFAULT_TENANT));
        let caller = Caller { tenant, permissions: Permissions::ALL, key: None };
        Self { table: ArcSwap::default(), open: Some(caller), limiter: Limiter::unlimited() }
    }

    /// Those of a table, which all need a key.
    pub fn of(table: Table) -> Self {
        Self { table: ArcSwap::from_pointee(table), open: None, limiter: Limiter::unlimited() }
    }

    /// Has this limiter count what they use.
    #[must_use]
    pub fn limited_by(self, limiter: Arc<Limiter>) -> Self {
        let table = self.table();
        limiter.configure_divided(table.divide_by(), table.allowances());
        Self { limiter, ..self }
    }

    /// What counts what they use.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    /// Whether nobody needs a key. Then none is looked at.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Puts another table in place; requests that were identified go on as who they were.
    pub fn replace(&self, table: Table) {
        self.limiter.configure_divided(table.divide_by(), table.allowances());
        self.table.store(Arc::new(table));
    }

    /// The table as it is now.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Who sends a request with this key. Takes no lock, allocates nothing, and hashes once.
    ///
    /// # Errors
    /// [`Code::NoApiKey`] and [`Code::UnknownApiKey`].
    pub fn identify(&self, key: Option<&str>) -> Result<Caller, Refusal> {
        if let Some(caller) = &self.open {
            return Ok(caller.clone());
        }
        let key = key.ok_or(Code::NoApiKey)?;
        let found = self.table.load().caller(key);
        found.ok_or_else(|| Code::UnknownApiKey.into())
    }

    /// The tenant of this name.
    pub fn find(&self, name: &str) -> Option<Arc<Tenant>> {
        match &self.open {
            Some(caller) => Some(&caller.tenant).filter(|tenant| *tenant.name == *name).cloned(),
            None => self.table.load().find(name).cloned(),
        }
    }
}

#[cfg(test)]
mod tests;
