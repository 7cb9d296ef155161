"""Losses as pure functions, one module a kind; import the module: `losses.zero_reference`, …"""
