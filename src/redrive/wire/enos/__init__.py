"""The EnOS edge: token calls, signed calls, envelope and codes.

::

    token        POST /apim-token-service/v2.0/token/get|refresh
    auth         who calls: enos_principal (reads), enos_writer (changes), enos_uploader (integration)
    parameters   query and body fields in the vendor's spelling
    envelope     {"code", "msg", "submsg", "data"}; TsdbRoute and GeneralRoute render refusals
    descriptions what OpenAPI says of the calls
    codes        our problems as the vendor's codes
"""

from __future__ import annotations
