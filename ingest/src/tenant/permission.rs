//! What a key allows, as a small set.

/// One thing that a key may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Permission {
    /// Send pulses.
    Write = 1,
    /// Ask for pulses and counts.
    Read = 2,
    /// Operate on what the tenant has: its dead letters, the deletion of its data.
    Admin = 4,
    /// See what is of the whole process, and thereby of all tenants. No tenant's key has it.
    Process = 8,
}

impl Permission {
    /// What is told to a caller that lacks it.
    pub(super) const fn missing(self) -> &'static str {
        match self {
            Self::Write => {
                "the key is not allowed to send pulses; use one of kind write, both \
                            or admin"
            }
            Self::Read => "the key is not allowed to read; use one of kind read, both or admin",
            Self::Admin => "the key is not allowed to operate; use one of kind admin",
            Self::Process => "this tells of all tenants: ask the admin listener",
        }
    }
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    /// Whatever can be done.
    pub const ALL: Self = Self(0b1111);

    /// The set of these.
    pub const fn of(permissions: &[Permission]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < permissions.len() {
            bits |= permissions[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Whether it holds `permission`.
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & permission as u8 != 0
    }
}
