"""The Wyoming protocol (github.com/OHF-Voice/wyoming), by which voice programs of a home reach each other over TCP.

It knows neither users nor encryption: whoever connects may ask. So nothing listens until a person names the services,
and beyond this machine only for addresses that a person wrote down.
"""
