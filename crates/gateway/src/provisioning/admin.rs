//! The operators' token: whoever has it sees and handles every call.

use std::net::IpAddr;

use crosspoint_base::Secret;

use super::guard::Attempt;
use super::{Provisioning, Refusal, secrets};
use crate::permissions::{Principal, Role, Staff};

impl Provisioning {
    /// Whether a token is the operators': then it is an admin's.
    pub(crate) fn sign_in_admin(
        &self,
        from: IpAddr,
        token: &Secret<String>,
    ) -> Result<Principal, Refusal> {
        let Some(expected) = &self.settings.admin_token else { return Err(Refusal::NoAdmin) };
        let is_right = secrets::same(token.expose().as_bytes(), expected.expose().as_bytes());
        self.judge(&Attempt::at_a_secret(from), is_right)?;
        let name = "token".to_owned();
        Ok(Principal::Staff(Staff { name, role: Role::Admin, is_console: false }))
    }
}
