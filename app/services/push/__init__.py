"""Publish/subscribe from writers to subscriptions, in one process or between instances by PostgreSQL's NOTIFY."""
