//! Operators and the audit in memory.

use crosspoint_base::Secret;

use super::{Kept, MemoryStore};
use crate::operator::ADMIN;
use crate::{AuditBounds, AuditEntry, AuditFilter, Operator, Operators, StoreError};

impl Operators for MemoryStore {
    fn insert_operator(&self, operator: &Operator) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if kept.operators.contains_key(&operator.name) {
            return Err(StoreError::Exists("name"));
        }
        kept.operators.insert(operator.name.clone(), operator.clone());
        Ok(())
    }

    fn operators(&self) -> Result<Vec<Operator>, StoreError> {
        Ok(self.kept().operators.values().cloned().collect())
    }

    fn operator(&self, name: &str) -> Result<Option<Operator>, StoreError> {
        Ok(self.kept().operators.get(name).cloned())
    }

    fn change_operator(
        &self,
        name: &str,
        role: Option<&str>,
        password: Option<&Secret<String>>,
    ) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if role.is_some_and(|role| role != ADMIN) {
            not_the_last(&kept, name)?;
        }
        let found = kept.operators.get_mut(name);
        let operator = found.ok_or_else(|| StoreError::NoSuchOperator(name.to_owned()))?;
        if let Some(role) = role {
            role.clone_into(&mut operator.role);
        }
        if let Some(password) = password {
            operator.password = password.clone();
        }
        Ok(())
    }

    fn remove_operator(&self, name: &str) -> Result<(), StoreError> {
        let mut kept = self.kept();
        not_the_last(&kept, name)?;
        let gone = kept.operators.remove(name);
        gone.map(drop).ok_or_else(|| StoreError::NoSuchOperator(name.to_owned()))
    }

    fn note(&self, entry: &AuditEntry, keep: AuditBounds) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let number = kept.audit.last().map_or(1, |last| last.number + 1);
        kept.audit.push(AuditEntry { number, ..entry.clone() });
        let oldest = number - i64::from(keep.entries);
        kept.audit.retain(|entry| entry.number > oldest && entry.at >= keep.since);
        Ok(())
    }

    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let kept = self.kept();
        let admitted = kept.audit.iter().rev().filter(|entry| filter.admits(entry));
        Ok(admitted.take(filter.limit as usize).cloned().collect())
    }
}

fn not_the_last(kept: &Kept, name: &str) -> Result<(), StoreError> {
    let is_admin = |operator: &Operator| operator.role == ADMIN;
    let others = kept.operators.values().filter(|o| is_admin(o) && o.name != name).count();
    if kept.operators.get(name).is_some_and(is_admin) && others == 0 {
        return Err(StoreError::LastAdmin(name.to_owned()));
    }
    Ok(())
}
