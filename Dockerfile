# The page's libraries come from a stage of their own: the tool that fetches them stays out of the image.
FROM python:3.11-slim-bookworm AS assets
WORKDIR /app
COPY frontend/package.json frontend/package-lock.json frontend/.npmrc frontend/
COPY tools/web_assets.py tools/
RUN python tools/web_assets.py --require

FROM python:3.11-slim-bookworm
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY wsgi.py gunicorn.conf.py ./
COPY trading_engine trading_engine
COPY frontend frontend
COPY --from=assets /app/frontend/vendor frontend/vendor

RUN useradd --system --uid 10001 --no-create-home exchange && install -d -o exchange -g exchange /data
USER exchange
# What must outlive the container is in /data: mount a volume there, or give DATABASE_URL a PostgreSQL server.
# (A VOLUME line would say the same, but Railway's builder refuses it.)
# A container has to listen on all its addresses, which the exchange does only with an ACCESS_PASSWORD.
ENV DATA_DIR=/data HOST=0.0.0.0 PORT=8080 PUBLIC=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=2)"]
CMD ["gunicorn", "wsgi:app"]
